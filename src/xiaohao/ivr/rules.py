"""What makes a graph one that can be walked: everything is reached, nothing goes round for ever. Pure."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final

from xiaohao.calls.model import Reason
from xiaohao.ivr.model import Branch, Collect, Connect, Graph, HangUp, Look, Node, Play
from xiaohao.numbers.model import canonical
from xiaohao.prompts.model import situation_of

#: what can be wrong
FAULTS: Final = frozenset(
    {
        *("form", "node_missing", "unreachable", "endless", "too_deep", "prompt_missing"),
        *("no_digits", "nobody_found", "reason", "number"),
    }
)
#: nodes from the start to the farthest one
DEEPEST: Final = 40
#: a graph cannot refuse for what only the callee's side can say
_NOT_OURS: Final = frozenset(
    {
        Reason.CALLEE_BUSY,
        Reason.CALLEE_REJECTED,
        Reason.CALLEE_NO_ANSWER,
        Reason.CALLEE_UNREACHABLE,
        Reason.CALLEE_NUMBER_INVALID,
        Reason.TRUNK_FAILURE,
        Reason.OVERLOAD,
    }
)
#: words that `hang_up` may say
REASONS: Final[frozenset[str]] = frozenset(
    reason.value for reason in Reason if reason not in _NOT_OURS and situation_of(reason) is not None
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a graph. `node` and `field` None: the graph as a whole."""

    node: str | None
    field: str | None
    #: one of FAULTS
    code: str
    detail: str


def ways(node: Node) -> Iterator[tuple[str, str]]:
    """The fields of a node that name others, and whom they name."""
    match node:
        case Play():
            yield "next", node.next
        case Collect():
            yield "digits", node.digits
            yield "nothing", node.nothing
            yield "exhausted", node.exhausted
        case Branch():
            for digits, name in node.cases.items():
                yield f"cases.{digits}", name
            yield "otherwise", node.otherwise
        case Look():
            yield "found", node.found
            yield "not_found", node.not_found
            yield "trouble", node.trouble
        case Connect() | HangUp():
            return


def check(graph: Graph, prompts: Collection[str]) -> list[Fault]:
    """Everything that is wrong with a graph; `prompts` are the names of those there are."""
    missing = list(_missing(graph))
    if missing:
        return missing
    return [*_contents(graph, prompts), *_shape(graph)]


def _missing(graph: Graph) -> Iterator[Fault]:
    if graph.start not in graph.nodes:
        yield Fault(None, "start", "node_missing", f"There is no node {graph.start}.")
    for name, node in graph.nodes.items():
        for field, target in ways(node):
            if target not in graph.nodes:
                yield Fault(name, field, "node_missing", f"There is no node {target}.")


def _contents(graph: Graph, prompts: Collection[str]) -> Iterator[Fault]:
    for name, node in graph.nodes.items():
        match node:
            case Play() | Collect():
                if node.prompt is not None and node.prompt not in prompts:
                    yield Fault(name, "prompt", "prompt_missing", f"There is no prompt {node.prompt}.")
                if isinstance(node, Collect) and node.least > node.most:
                    yield Fault(name, "least", "form", "cannot be more than most")
            case Branch():
                if not node.cases:
                    yield Fault(name, "cases", "form", "name at least one case")
            case Connect():
                if node.to is not None and canonical(node.to) != node.to:
                    yield Fault(name, "to", "number", "is no telephone number as +86…")
            case HangUp():
                if node.reason not in REASONS:
                    yield Fault(name, "reason", "reason", "is no reason for which a call can be refused")


def _shape(graph: Graph) -> Iterator[Fault]:
    depths = depths_of(graph)
    for name in graph.nodes:
        if name not in depths:
            yield Fault(name, None, "unreachable", "No way leads here from the start.")
        elif depths[name] > DEEPEST:
            yield Fault(name, None, "too_deep", f"It is more than {DEEPEST} nodes away from the start.")
    for name in _endless(graph):
        detail = "From here the way leads back here without any question to the caller."
        yield Fault(name, None, "endless", detail)
    # where a node can come without what it needs having been found out
    blind = _reached(graph, lambda node, field: not (isinstance(node, Collect) and field == "digits"))
    alone = _reached(graph, lambda node, field: not (isinstance(node, Look) and field == "found"))
    for name, node in graph.nodes.items():
        if isinstance(node, Look | Branch) and name in blind:
            yield Fault(name, None, "no_digits", "It can be reached before any digits were collected.")
        if isinstance(node, Connect) and node.to is None and name in alone:
            yield Fault(name, "to", "nobody_found", "It can be reached before anybody was found.")


def depths_of(graph: Graph) -> dict[str, int]:
    """How many steps each node is away from the start; those that are not reached are not there."""
    depths = {graph.start: 0}
    layer = [graph.start]
    while layer:
        coming: list[str] = []
        for name in layer:
            for _, target in ways(graph.nodes[name]):
                if target not in depths:
                    depths[target] = depths[name] + 1
                    coming.append(target)
        layer = coming
    return depths


def _reached(graph: Graph, takes: Callable[[Node, str], bool]) -> set[str]:
    seen = {graph.start}
    todo = [graph.start]
    while todo:
        node = graph.nodes[todo.pop()]
        for field, target in ways(node):
            if takes(node, field) and target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def _endless(graph: Graph) -> list[str]:
    """Nodes on circles that no question is on, or only one that is not asked any more."""
    onward = {
        name: [
            target for field, target in ways(node) if not isinstance(node, Collect) or field == "exhausted"
        ]
        for name, node in graph.nodes.items()
    }
    found = []
    for name in graph.nodes:
        seen: set[str] = set()
        todo = list(onward[name])
        while todo:
            here = todo.pop()
            if here not in seen:
                seen.add(here)
                todo += onward[here]
        if name in seen:
            found.append(name)
    return found
