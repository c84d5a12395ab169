"""The ladder as a browser draws it: everything inside the picture, and no words over other words."""

from pathlib import Path
from typing import Any

from tests.api.test_plans import in_a_browser
from tests.trace.test_reading import CALL, OURS, REAL, message, sip
from xiaohao.calls.model import Try
from xiaohao.trace.ladder import draw
from xiaohao.trace.legs import legs_of
from xiaohao.trace.masking import Mask

#: boxes of all texts, the ends of all arrows, and the picture's own size; a browser has measured them
_LOOK = """(() => {
  const root = document.documentElement, size = root.viewBox.baseVal;
  const box = (node) => { const b = node.getBBox(); return [b.x, b.y, b.x + b.width, b.y + b.height]; };
  return {
    root: root.tagName, size: [size.width, size.height],
    fonts: [...new Set([...root.querySelectorAll("text")].map((t) => getComputedStyle(t).fontSize))],
    texts: [...root.querySelectorAll("text")].map((node) => [node.textContent, ...box(node)]),
    arrows: [...root.querySelectorAll("line.arrow")].map(box),
    drawn: [...root.querySelectorAll("line.arrow")].map((n) => getComputedStyle(n).stroke),
  };
})()"""
_LOADED = 'document.readyState === "complete" && document.documentElement.tagName === "svg"'


def _picture() -> str:
    """A call with a carrier that fails and one that answers, and long words from strangers."""
    invite = ("To: <sip:1@b>", "CSeq: 1 INVITE")
    talk = [
        (sip(f"INVITE sip:+86{OURS}@b SIP/2.0", *invite), True, True),
        (sip("SIP/2.0 100 Trying", "CSeq: 1 INVITE"), True, False),
        (sip(f"INVITE sip:+86{REAL}@c SIP/2.0", *invite), False, False),
        (sip(f"INVITE sip:+86{REAL}@c SIP/2.0", *invite), False, False),
        (sip("SIP/2.0 503 " + "Service Unavailable " * 9, "CSeq: 1 INVITE"), False, True),
        (sip("SIP/2.0 180 振铃振铃振铃", "CSeq: 1 INVITE"), True, False),
        (sip("SIP/2.0 200 OK", "CSeq: 1 INVITE"), True, False),
        (sip("BYE sip:1@b SIP/2.0", "CSeq: 2 BYE"), True, True),
    ]
    found = [message(text, 1_000 + n * 20_000, *way) for n, (text, *way) in enumerate(talk)]
    names = {"trk_a": "east", "trk_b": "北京电信 Beijing Telecom Long Name"}
    return draw(legs_of(found, 2, CALL, [Try("trk_b", 5)], names), CALL, Mask([f"+86{OURS}"]))


async def test_a_browser_shows_it(tmp_path: Path) -> None:
    file = tmp_path / "ladder.svg"
    file.write_text(_picture())
    seen: dict[str, Any] = await in_a_browser(file.as_uri(), _LOOK, tmp_path, _LOADED)
    width, height = seen["size"]
    assert seen["root"] == "svg"
    assert len(seen["arrows"]) == 8
    assert set(seen["drawn"]) & {"none", ""} == set()
    assert len(seen["fonts"]) > 1, "its style is in force"
    for what, left, top, right, bottom in [*seen["texts"], *(("arrow", *box) for box in seen["arrows"])]:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, (what, left, right, width)
    texts = seen["texts"]
    for place, (one, left, top, right, bottom) in enumerate(texts):
        for other, left2, top2, right2, bottom2 in texts[place + 1 :]:
            # a line's box is higher than its letters
            apart = right <= left2 or right2 <= left or bottom - 3 <= top2 or bottom2 - 3 <= top
            assert apart, f"{one!r} lies over {other!r}"
    assert not [text for text, *_ in texts if REAL in text]
