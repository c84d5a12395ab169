"""Graphs, events and actions as JSON. The graph's JSON Schema is published as docs/graph.schema.json."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from xiaohao.ivr.machine import Machine
from xiaohao.ivr.model import (
    KEYS,
    Action,
    ConnectTo,
    Digit,
    Event,
    Found,
    Graph,
    Looked,
    LookUp,
    Played,
    PlayPrompt,
    Refuse,
    Started,
    StopPlaying,
    Timeout,
    WaitForDigits,
)
from xiaohao.ivr.rules import Fault

_PLACE: Final = re.compile(r" - at `(?:key in )?\$(?:\.nodes)?(?:\[\.\.\.\])?\.?([^`]*)`$")
#: events of one trial
EVENTS_MOST: Final = 1000


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happens in a trial. `keys`: several digits, one after the other."""

    event: str
    keys: str = ""
    result: Found | None = None


def read(document: Any) -> Graph | Fault:
    """The graph in a JSON value, or what is wrong with its form."""
    nodes = document.get("nodes") if isinstance(document, dict) else None
    if isinstance(nodes, dict):
        # one by one, so that the message says which
        for name, node in nodes.items():
            try:
                msgspec.convert({"start": "x", "nodes": {name: node}}, Graph)
            except msgspec.ValidationError as error:
                return _fault(str(name), error)
    try:
        return msgspec.convert(document, Graph)
    except msgspec.ValidationError as error:
        return _fault(None, error)


def _fault(node: str | None, error: msgspec.ValidationError) -> Fault:
    text = str(error)
    found = _PLACE.search(text)
    field = found[1].removeprefix("nodes").strip("[]. ") if found else ""
    return Fault(node, field or None, "form", text[: found.start()] if found else text)


def document_of(graph: Graph) -> dict[str, Any]:
    """The graph as a JSON value, with every field."""
    built: dict[str, Any] = msgspec.to_builtins(graph)
    return built


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a graph."""
    described = msgspec.json.schema(Graph)
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "xiaohao announcement graph"}
    return {**title, **described}


def action_of(action: Action) -> dict[str, Any]:
    """An action as a trial shows it."""
    match action:
        case PlayPrompt(prompt, step):
            return {"action": "play", "prompt": prompt, "step": step}
        case StopPlaying():
            return {"action": "stop"}
        case WaitForDigits(most, timeout_ms, terminators, step):
            wanted = {"most": most, "timeout_ms": timeout_ms, "terminators": terminators}
            return {"action": "collect", **wanted, "step": step}
        case LookUp(kind, digits, step):
            return {"action": "look", "kind": kind.value, "digits": digits, "step": step}
        case ConnectTo(to):
            return {"action": "connect", "to": to}
        case Refuse(reason):
            return {"action": "hang_up", "reason": reason}


def events_of(step: Step) -> list[Event] | None:
    """What a step of a trial tells the machine; None where it says nothing that could be told."""
    plain: dict[str, Event] = {"played": Played(), "timeout": Timeout()}
    if step.event in plain:
        return [plain[step.event]]
    if not set(step.keys) <= set(KEYS):
        return None
    if step.event == "started":
        return [Started(step.keys)]
    if step.event == "digits" and step.keys:
        return [Digit(key) for key in step.keys]
    if step.event == "looked" and step.result is not None:
        return [Looked(step.result)]
    return None


def trial(graph: Graph, steps: Sequence[Step]) -> dict[str, Any] | int:
    """What a dialogue does when all this happens; or the place of a step that says nothing.

    It is started first, unless the first step says so itself.
    """
    machine = Machine(graph)
    told: list[dict[str, Any]] = []
    if not steps or steps[0].event != "started":
        told.append(_answer({"event": "started"}, machine, [Started()]))
    for place, step in enumerate(steps):
        events = events_of(step)
        if events is None:
            return place
        told.append(_answer(msgspec.to_builtins(step), machine, events))
    return {"steps": told, "at": machine.at, "over": machine.is_over}


def _answer(said: Mapping[str, Any], machine: Machine, events: Sequence[Event]) -> dict[str, Any]:
    shown = {name: value for name, value in said.items() if value not in ("", None)}
    return {**shown, "actions": [action_of(one) for event in events for one in machine.feed(event)]}
