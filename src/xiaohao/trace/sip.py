"""As much of a SIP message as a reader of traces needs. What carriers send may be anything at all."""

import re
from typing import Final

import msgspec

_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")
_FOLDED: Final = re.compile(r"\n[ \t]+")
_REQUEST: Final = re.compile(r"([A-Za-z!%*_+`'~.-]{1,32}) (\S{1,2000}) SIP/2\.0")
_REPLY: Final = re.compile(r"SIP/2\.0 ([1-6][0-9]{2})(?: ([^\r\n]*))?")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")
_COMPACT: Final = {
    **{"i": "call-id", "m": "contact", "f": "from", "t": "to", "v": "via", "l": "content-length"},
    **{"c": "content-type", "k": "supported", "s": "subject", "e": "content-encoding"},
}


class Sip(msgspec.Struct, frozen=True):
    """A message taken apart. `headers` are in their order, names as written, folded lines made one."""

    start: str
    #: of a request; None in a reply
    method: str | None
    #: of a reply; None in a request
    code: int | None
    phrase: str
    headers: list[tuple[str, str]]
    body: str

    def header(self, name: str) -> str:
        """The first value of a header by its name in small letters; "" where there is none."""
        for found, value in self.headers:
            low = found.lower()
            if _COMPACT.get(low, low) == name:
                return value
        return ""

    @property
    def cseq(self) -> str:
        """Number and method, `1 INVITE`."""
        return " ".join(self.header("cseq").split()[:2])[:40]

    @property
    def has_sdp(self) -> bool:
        """Whether it describes a session."""
        return "application/sdp" in self.header("content-type").lower() and bool(self.body)

    @property
    def begins_call(self) -> bool:
        """An INVITE outside any dialog."""
        return self.method == "INVITE" and ";tag=" not in self.header("to").replace(" ", "").lower()


def clean(text: str) -> str:
    """Text without the characters that XML and terminals cannot bear; line ends stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def parse(data: bytes) -> Sip:
    """Take a message apart. Never fails: what is no SIP has neither method nor code."""
    end = _HEADER_END.search(data)
    head, body = (data, b"") if end is None else (data[: end.start()], data[end.end() :])
    lines = _FOLDED.sub(" ", _readable(head)).split("\n")
    headers = []
    for line in lines[1:400]:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip(), value.strip()))
    start = lines[0].strip()
    request, reply = _REQUEST.fullmatch(start), _REPLY.fullmatch(start)
    return Sip(
        start=start,
        method=request[1].upper() if request else None,
        code=int(reply[1]) if reply else None,
        phrase=(reply[2] or "") if reply else "",
        headers=headers,
        body=_readable(body),
    )


def _readable(data: bytes) -> str:
    return clean(data.decode("utf-8", "replace").replace("\r\n", "\n"))


def call_id_of(data: bytes) -> bytes:
    """The Call-ID as it stands in a message."""
    return parse(data).header("call-id").encode()
