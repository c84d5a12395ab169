"""A call's SIP messages as a ladder picture (SVG 1.1).

What carriers send may be anything: every text is cut, cleaned of what XML cannot bear, and escaped; nothing
of it becomes an attribute, a link or a style.
"""

from html import escape
from typing import Final

from xiaohao.calls.model import Call
from xiaohao.clock import SECOND, rfc3339_local
from xiaohao.trace.legs import Legs, Party, Step
from xiaohao.trace.masking import Mask
from xiaohao.trace.sip import clean

#: arrows drawn of one call at the most
MOST_ARROWS: Final = 150
_LEFT, _COLUMN, _TOP, _ROW = 150, 230, 84, 34
_LABEL: Final = 34
_STYLE: Final = """
text{font-family:'Noto Sans SC','Noto Sans CJK SC','PingFang SC','Microsoft YaHei',sans-serif;fill:#1d2733}
.title{font-size:15px;font-weight:600}.small{font-size:11px;fill:#5b6875}.name{font-size:13px;font-weight:600}
.label{font-size:12px}.life{stroke:#b4bec8;stroke-dasharray:3 4}.box{fill:#eef2f6;stroke:#b4bec8}
.ours{fill:#e2f1ec;stroke:#2f8f6f}.arrow{stroke:#2b5c8a;stroke-width:1.4;fill:none}
.good{stroke:#2f8f6f}.bad{stroke:#b3403a}.again{stroke-dasharray:5 4;opacity:.65}
.head{fill:#2b5c8a}.head.good{fill:#2f8f6f;stroke:none}.head.bad{fill:#b3403a;stroke:none}
"""


def draw(legs: Legs, call: Call, mask: Mask | None, note: str = "") -> str:
    """The picture. `mask` None: numbers are shown in full. `note` is a line at the end."""
    callers = [number for number, party in enumerate(legs.parties) if party.caller_side]
    others = [number for number, party in enumerate(legs.parties) if not party.caller_side]
    places = {number: _LEFT + place * _COLUMN for place, number in enumerate(callers)}
    ours = _LEFT + max(len(callers), 1) * _COLUMN
    places |= {number: ours + (place + 1) * _COLUMN for place, number in enumerate(others)}
    drawn = legs.steps[:MOST_ARROWS]
    width = max([ours, *places.values()]) + 170
    bottom = _TOP + 40 + len(drawn) * _ROW
    parts = [_head(width, bottom + 74, call)]
    for number, x in sorted(places.items(), key=lambda item: item[1]):
        parts.append(_life(x, bottom, *_names(legs.parties[number]), "box"))
    parts.append(_life(ours, bottom, "xiaohao", "platform · 平台", "box ours"))
    begin = drawn[0].message.at if drawn else call.received_at
    for row, step in enumerate(drawn):
        parts.append(_arrow(step, places[step.party], ours, _TOP + 62 + row * _ROW, begin, mask))
    parts.append(_foot(legs, len(drawn), bottom, note))
    return "\n".join([*parts, "</svg>\n"])


def _text(x: float, y: float, kind: str, text: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(clean(text))}</text>'


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _head(width: int, height: int, call: Call) -> str:
    title = f"Call {call.id}"
    end = "in progress" if call.reason is None else f"{call.reason.value}, SIP {call.sip_code or '–'}"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            _text(24, 28, "title", title),
            _text(24, 48, "small", f"{rfc3339_local(call.received_at)} · {end}"),
        )
    )


def _names(party: Party) -> tuple[str, str]:
    side = "caller's side · 主叫侧" if party.caller_side else "callee's side · 被叫侧"
    return _cut(party.trunk or "carrier", 22), side


def _life(x: int, bottom: int, name: str, side: str, kind: str) -> str:
    return "\n".join(
        (
            f'<line class="life" x1="{x}" y1="{_TOP + 34}" x2="{x}" y2="{bottom + 8}"/>',
            f'<rect class="{kind}" x="{x - 86}" y="{_TOP - 20}" width="172" height="46" rx="6"/>',
            _text(x, _TOP, "name", name, "middle"),
            _text(x, _TOP + 17, "small", side, "middle"),
        )
    )


def _arrow(step: Step, party: int, ours: int, y: int, begin: int, mask: Mask | None) -> str:
    start, end = (party, ours) if step.received else (ours, party)
    code = step.sip.code
    kind = "" if code is None or code < 200 else " good" if code < 300 else " bad"
    again = " again" if step.repeated else ""
    way = 1 if end > start else -1
    tip = end - way * 2
    label = _cut(_label(step, mask), _LABEL)
    if step.repeated:
        label += " ↻"
    left, right = min(start, end), max(start, end)
    # a label stands beside the platform's line, on the side of whom it is about, and crosses no other line
    middle = (left + right) / 2 if right - left <= _COLUMN else (ours + way * -_COLUMN / 2)
    if not step.received and right - left > _COLUMN:
        middle = ours + way * _COLUMN / 2
    detail = f"CSeq {step.sip.cseq}" if step.sip.cseq else "no SIP"
    offset = (step.message.at - begin) / SECOND
    return "\n".join(
        (
            _text(24, y + 4, "small", f"+{offset:.3f} s"),
            f'<line class="arrow{kind}{again}" x1="{start}" y1="{y}" x2="{tip - way * 7}" y2="{y}"/>',
            f'<path class="head{kind}" d="M{tip} {y}l{-way * 9} -4v8z"/>',
            _text(middle, y - 5, "label", label, "middle"),
            _text(
                middle, y + 12, "small", _cut(detail, 40) + (" · SDP" if step.sip.has_sdp else ""), "middle"
            ),
        )
    )


def _label(step: Step, mask: Mask | None) -> str:
    sip = step.sip
    if sip.code is not None:
        return f"{sip.code} {sip.phrase if mask is None else mask.text(sip.phrase)}"
    if sip.method is None:
        return "what is no SIP"
    uri = sip.start.partition(" ")[2].rpartition(" ")[0]
    user = uri.partition(":")[2].partition("@")[0] if "@" in uri else ""
    shown = user if mask is None else mask.text(user)
    # our own names for a call's sides tell a reader nothing
    return f"{sip.method} {shown}" if sip.begins_call and shown else sip.method


def _foot(legs: Legs, drawn: int, bottom: int, note: str) -> str:
    repeated = sum(step.repeated for step in legs.steps)
    said = [f"{len(legs.steps)} messages"]
    if repeated:
        said.append(f"{repeated} of them said again (↻, dashed)")
    if len(legs.steps) > drawn:
        said.append(f"{len(legs.steps) - drawn} not drawn")
    if legs.cut:
        said.append(f"{legs.cut} more were not kept")
    shortened = sum(step.message.cut > 0 for step in legs.steps)
    if shortened:
        said.append(f"{shortened} kept in part")
    lines = [_text(24, bottom + 38, "small", " · ".join(said))]
    if note:
        lines.append(_text(24, bottom + 56, "small", note))
    return "\n".join(lines)
