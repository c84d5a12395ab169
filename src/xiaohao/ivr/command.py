"""The commands `xiaohao graphs …`: check, draw and try a graph in a file, without a platform."""

from pathlib import Path

import msgspec
import typer

from xiaohao.ivr import drawing, wire
from xiaohao.ivr.builtin import BUILT_IN
from xiaohao.ivr.desk import place_of
from xiaohao.ivr.model import Graph
from xiaohao.ivr.rules import Fault, check
from xiaohao.prompts.model import SITUATIONS
from xiaohao.runtime.errors import ChoreFailed


def check_file(source: str, prompts: list[str]) -> list[str]:
    """What is wrong with a graph, a line each. Raises ChoreFailed where there is no such file."""
    found = _read(source)
    faults = [found] if isinstance(found, Fault) else check(found, SITUATIONS | set(prompts))
    return [f"{place_of(one)}: {one.code}: {one.detail}" for one in faults]


def draw_file(source: str, output: Path) -> None:
    """Write the picture of a graph. Raises ChoreFailed."""
    picture = drawing.draw(_graph(source))
    try:
        output.write_text(picture)
    except OSError as error:
        raise ChoreFailed(f"{output}: {error.strerror}") from None


def try_file(source: str, events: list[str]) -> str:
    """What a dialogue does, a line each: `digits:123#`, `played`, `timeout`, `looked:found`, `started:12`.

    Raises ChoreFailed.
    """
    steps = []
    for event in events:
        name, _, rest = event.partition(":")
        try:
            raw = {"event": name, ("result" if name == "looked" else "keys"): rest}
            steps.append(msgspec.convert(raw, wire.Step))
        except msgspec.ValidationError as error:
            raise ChoreFailed(f"{name}: {error}") from None
    found = wire.trial(_graph(source), steps)
    if isinstance(found, int):
        raise ChoreFailed(f"{events[found]}: is no event that can happen in a dialogue")
    lines = []
    for step in found["steps"]:
        said = " ".join(str(step[name]) for name in ("event", "keys", "result") if name in step)
        lines.append(said)
        for action in step["actions"]:
            shown = [f"{name}={value}" for name, value in action.items() if name not in ("action", "step")]
            lines.append("  " + " ".join([action["action"], *shown]))
    return "\n".join(lines)


def print_schema() -> None:
    """Print the JSON Schema of graphs."""
    typer.echo(msgspec.json.format(msgspec.json.encode(wire.schema())).decode())


def _graph(source: str) -> Graph:
    found = _read(source)
    if isinstance(found, Fault):
        raise ChoreFailed(f"{place_of(found)}: {found.detail}")
    faults = [one for one in check(found, SITUATIONS) if one.code != "prompt_missing"]
    if faults:
        raise ChoreFailed(f"{place_of(faults[0])}: {faults[0].detail}")
    return found


def _read(source: str) -> Graph | Fault:
    if source in BUILT_IN:
        return BUILT_IN[source]
    try:
        return wire.read(msgspec.json.decode(Path(source).read_bytes()))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ChoreFailed(f"{source}: {error}") from None
