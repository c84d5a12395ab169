"""What a reader who may not see real numbers is shown of SIP: no number but the platform's, no name.

A number may be spelled in many ways and stand in any header. So what is shown is chosen, not what is hidden:
headers that are known to be needed, and of digits in a row only those that are the platform's own.
"""

import re
from collections.abc import Iterable
from typing import Final

from xiaohao.secrecy import masked
from xiaohao.trace.sip import Sip

HIDDEN: Final = "[hidden]"
#: headers whose values are shown; whatever else a message has, only its name is
_SHOWN: Final = frozenset(
    (
        *("via", "from", "to", "contact", "call-id", "cseq", "max-forwards", "route", "record-route"),
        *("content-type", "content-length", "supported", "require", "proxy-require", "unsupported", "allow"),
        *("session-expires", "min-se", "rseq", "rack", "reason", "retry-after", "accept", "expires", "event"),
        *("p-asserted-identity", "p-preferred-identity", "remote-party-id", "diversion", "privacy"),
        *("user-agent", "server", "date", "v", "f", "t", "m", "i", "k", "l", "c"),
    )
)
_NAMED: Final = frozenset(
    (
        *("from", "to", "contact", "f", "t", "m", "route", "record-route", "diversion"),
        *("p-asserted-identity", "p-preferred-identity", "remote-party-id"),
    )
)
_FREE_TEXT: Final = frozenset(("user-agent", "server", "reason"))
_DISPLAY_NAME: Final = re.compile(r'(^|,)[^<,"]*(?:"(?:[^"\\]|\\.)*"[^<,"]*)*<')
_ESCAPED_DIGIT: Final = re.compile(r"%3([0-9])")
#: seven digits or more, with a visual separator of RFC 3966 between two of them at most, or blanks between
#: groups as people make them; in an SDP an address follows `IP4`
_DIGITS: Final = r"\+?\d(?:(?:[-.()/]|(?<=\d{3}) (?=\d{3,}(?!\.)))?\d){6,}"
#: the line of an SDP that lists payload types, which would pass for groups of a number
_MEDIA: Final = re.compile(r"m=[a-z]+ [0-9]{1,5} [A-Z/]+(?: (?:[1-9]?[0-9]|1[01][0-9]|12[0-7]))+")
_ADDRESS: Final = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}")


class Mask:
    """Hides numbers in text. `ours`: platform numbers, which may be shown; `names`: what is no number."""

    def __init__(self, ours: Iterable[str | None], *names: str) -> None:
        self._pattern = re.compile("|".join([*map(re.escape, names), _DIGITS]))
        self._names = set(names)
        digits = (re.sub(r"\D", "", each) for each in ours if each)
        self._ours = {form for each in digits for form in (each, each.removeprefix("86"), f"0{each[2:]}")}

    def text(self, text: str) -> str:
        """Text with every number masked that is not the platform's."""
        return self._pattern.sub(self._one, _ESCAPED_DIGIT.sub(r"\1", text))

    def _one(self, found: re.Match[str]) -> str:
        written = found[0]
        if written in self._names:
            return written
        digits = re.sub(r"\D", "", written)
        if digits in self._ours or _ADDRESS.fullmatch(written):
            return written
        return masked(f"+{digits}" if digits.startswith("86") and len(digits) > 11 else digits)

    def message(self, message: Sip) -> str:
        """A message as text, line by line."""
        lines = [self.text(message.start)]
        for name, value in message.headers:
            low = name.lower()
            shown = value if low in _SHOWN else HIDDEN
            if low in _NAMED:
                shown = _DISPLAY_NAME.sub(r"\1<", shown)
            if low in _FREE_TEXT and "=" not in shown:
                shown = shown[:80]
            lines.append(f"{self.text(name[:60])}: {self.text(shown)}")
        body = self._session(message.body) if message.has_sdp else HIDDEN if message.body else ""
        return "\n".join([*lines, "", body]).rstrip("\n") + "\n"

    def _session(self, body: str) -> str:
        lines = body.split("\n")
        return "\n".join(line if _MEDIA.fullmatch(line) else self.text(line) for line in lines)
