"""A graph as a picture: SVG, one row for each step away from the start."""

from typing import Final
from xml.sax.saxutils import escape, quoteattr

from xiaohao.ivr.model import Branch, Collect, Connect, Graph, HangUp, Look, Node, Play
from xiaohao.ivr.rules import depths_of, ways

_WIDTH, _HEIGHT = 190, 58
_ACROSS, _DOWN = 46, 64
_MARGIN: Final = 24
#: for each way back up: so much further to the right
_LANE: Final = 14
_FILLS: Final = {
    Play: "#dbeafe",
    Collect: "#fef3c7",
    Branch: "#ede9fe",
    Look: "#e0f2fe",
    Connect: "#dcfce7",
    HangUp: "#fee2e2",
}
_STYLE: Final = (
    "text{font:12px 'Noto Sans CJK SC',sans-serif;fill:#1f2937}.n{font-weight:bold}"
    ".w{font-size:11px;fill:#4b5563}"
    "path{fill:none;stroke:#6b7280;stroke-width:1.3}rect{stroke:#9ca3af}"
)


def draw(graph: Graph) -> str:
    """The picture. Nodes that nothing leads to stand in a last row."""
    rows = _rows(graph)
    places = {
        name: (_MARGIN + column * (_WIDTH + _ACROSS), _MARGIN + row * (_HEIGHT + _DOWN))
        for row, names in enumerate(rows)
        for column, name in enumerate(names)
    }
    right = _MARGIN + max(len(names) for names in rows) * (_WIDTH + _ACROSS) - _ACROSS
    lanes = 0
    ways_drawn: list[str] = []
    for name, node in graph.nodes.items():
        targets: dict[str, list[str]] = {}
        for field, target in ways(node):
            targets.setdefault(target, []).append(field.removeprefix("cases."))
        for place, (target, fields) in enumerate(targets.items()):
            start = places[name][0] + _WIDTH * (place + 1) / (len(targets) + 1)
            if target not in places:
                continue
            if places[target][1] > places[name][1]:
                ways_drawn.append(_down((start, places[name][1]), places[target], fields, place))
            else:
                lanes += 1
                lane = right + lanes * _LANE
                ways_drawn.append(_back((start, places[name][1]), places[target], lane, fields, place))
    width, height = right + lanes * _LANE + 90, _MARGIN + len(rows) * (_HEIGHT + _DOWN)
    boxes = [_box(name, graph.nodes[name], places[name], name == graph.start) for name in places]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
        f' height="{height:g}" role="img">\n<style>{_STYLE}</style>\n'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#6b7280;stroke:none"/></marker></defs>\n'
        + "\n".join([*ways_drawn, *boxes])
        + "\n</svg>\n"
    )


def _rows(graph: Graph) -> list[list[str]]:
    depths = depths_of(graph) if graph.start in graph.nodes else {}
    rows: list[list[str]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for name, depth in depths.items():
        rows[depth].append(name)
    left = [name for name in graph.nodes if name not in depths]
    return [*rows, left] if left else rows


def _down(start: tuple[float, float], target: tuple[float, float], fields: list[str], place: int) -> str:
    x, y = start[0], start[1] + _HEIGHT
    end_x, end_y = target[0] + _WIDTH / 2, target[1]
    bend = (end_y - y) / 2
    path = f"M{x:g} {y:g}C{x:g} {y + bend:g} {end_x:g} {end_y - bend:g} {end_x:g} {end_y:g}"
    return _way(path, x, y, fields, place)


def _back(
    start: tuple[float, float], target: tuple[float, float], lane: float, fields: list[str], place: int
) -> str:
    x, y = start[0], start[1] + _HEIGHT
    end_x, end_y = target[0] + _WIDTH, target[1] + _HEIGHT / 2
    path = f"M{x:g} {y:g}v{_DOWN - 12}H{lane:g}V{end_y:g}H{end_x:g}"
    return _way(path, x, y, fields, place)


def _way(path: str, x: float, y: float, fields: list[str], place: int) -> str:
    """A way with its name; names of neighbours stand one below the other, so that none covers the next."""
    label = escape(", ".join(fields))
    y += 13 + place % 3 * 12
    return f'<path d="{path}" marker-end="url(#a)"/><text class="w" x="{x + 4:g}" y="{y:g}">{label}</text>'


def _box(name: str, node: Node, place: tuple[float, float], first: bool) -> str:
    x, y = place
    border = ' stroke-width="3"' if first else ""
    kind, detail = _words(node)
    return (
        f"<g data-node={quoteattr(name)}>"
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"'
        f' fill="{_FILLS[type(node)]}"{border}/>'
        f'<text class="n" x="{x + 10:g}" y="{y + 23:g}">{escape(name)}</text>'
        f'<text class="w" x="{x + 10:g}" y="{y + 43:g}">{escape(f"{kind} {detail}".strip())}</text></g>'
    )


def _words(node: Node) -> tuple[str, str]:
    match node:
        case Play():
            return "play", node.prompt
        case Collect():
            length = str(node.most) if node.least == node.most else f"{node.least}–{node.most}"
            return "collect", f"{length} × {node.tries}: {node.prompt or '–'}"
        case Branch():
            return "branch", ""
        case Look():
            return "look", node.kind.value
        case Connect():
            # a number may be somebody's: pictures are shown around
            return "connect", "found" if node.to is None else "a number"
        case HangUp():
            return "hang up", node.reason
