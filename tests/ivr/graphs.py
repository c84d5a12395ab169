"""Graphs to try, among them any that the rules pass."""

from typing import Any

from hypothesis import strategies as st

from xiaohao.ivr.model import Branch, Collect, Connect, Graph, HangUp, Kind, Look, Node, Play
from xiaohao.ivr.rules import check
from xiaohao.prompts.model import SITUATIONS

#: a menu: 1 is the hotline, 2 an extension, 9 says it again
MENU: dict[str, Any] = {
    "start": "menu",
    "nodes": {
        "menu": {
            "do": "collect",
            "prompt": "before_connect",
            "digits": "which",
            "nothing": "menu",
            "exhausted": "bye",
            "tries": 4,
        },
        "which": {"do": "branch", "cases": {"1": "hotline", "2": "ask", "9": "menu"}, "otherwise": "sorry"},
        "sorry": {"do": "play", "prompt": "no_more_tries", "next": "menu"},
        "hotline": {"do": "connect", "to": "+864008001234"},
        "ask": {
            "do": "collect",
            "prompt": "ask_extension",
            "digits": "find",
            "nothing": "bye",
            "exhausted": "bye",
            "most": 3,
        },
        "find": {"do": "look", "kind": "extension", "found": "go", "not_found": "ask", "trouble": "bye"},
        "go": {"do": "connect"},
        "bye": {"do": "play", "prompt": "goodbye", "next": "end"},
        "end": {"do": "hang_up", "reason": "extension_unknown"},
    },
}


@st.composite
def any_graph(draw: st.DrawFn) -> Graph:
    """Nodes joined at will: most of these are wrong in some way."""
    names = [f"n{place}" for place in range(draw(st.integers(1, 7)))]
    name = st.sampled_from(names)
    prompt = st.sampled_from(["goodbye", "whisper", "please_wait"])
    node: st.SearchStrategy[Node] = st.one_of(
        st.builds(Play, prompt=prompt, next=name, barge_in=st.booleans()),
        st.builds(
            Collect,
            digits=name,
            nothing=name,
            exhausted=name,
            prompt=st.none() | prompt,
            least=st.integers(1, 2),
            most=st.integers(2, 4),
            terminators=st.sampled_from(["#", "", "*#"]),
            barge_in=st.booleans(),
            tries=st.integers(1, 3),
        ),
        st.builds(
            Branch, cases=st.dictionaries(st.sampled_from(["1", "22"]), name, min_size=1), otherwise=name
        ),
        st.builds(Look, kind=st.sampled_from(Kind), found=name, not_found=name, trouble=name),
        st.builds(Connect),
        st.builds(HangUp, reason=st.just("unknown_caller")),
    )
    return Graph(names[0], {each: draw(node) for each in names})


def mended(graph: Graph) -> Graph:
    """The same with an end in the place of what the rules complain of, until they do not."""
    while faults := check(graph, SITUATIONS):
        nodes = dict(graph.nodes)
        for fault in faults:
            assert fault.node is not None
            if fault.code == "unreachable":
                nodes.pop(fault.node, None)
        first = next((fault.node for fault in faults if fault.code != "unreachable"), None)
        if first is not None:
            nodes[first] = HangUp("unknown_caller")
        graph = Graph(graph.start, nodes)
    return graph


def walkable_graph() -> st.SearchStrategy[Graph]:
    """Any graph that the rules pass."""
    return any_graph().map(mended)
