"""Where a careless phone or carrier writes who it is: so that tests of masking have something to find."""

import zlib
from dataclasses import dataclass
from typing import Final

from aiosipua.message import SipRequest, SipResponse

_FAMILY: Final = ("Zhang", "Wang", "Li", "Zhao", "Chen", "Liu", "Yang", "Huang")
_GIVEN: Final = ("Wei", "Fang", "Min", "Jing", "Lei", "Qiang", "Yan", "Jun")


@dataclass(frozen=True)
class Identity:
    """What must not be learnt about the owner of a phone: number (with +), name and address."""

    number: str
    name: str
    host: str

    @property
    def digits(self) -> str:
        """The number without +."""
        return self.number.removeprefix("+")

    def secrets(self) -> tuple[str, ...]:
        """Texts none of which may reach the other party: spellings of the number, the name, the address."""
        national = self.digits.removeprefix("86")
        return national, self.name, self.name.replace(" ", ""), self.host


def name_for(number: str) -> str:
    """An invented name for the owner of `number`, the same each time and unlike that of other numbers."""
    sum_ = zlib.crc32(number.encode())
    return f"{_FAMILY[sum_ % 8]} {_GIVEN[sum_ // 8 % 8]}{sum_ // 64 % 10000:04d}"


def add_to_message(message: SipRequest | SipResponse, who: Identity, method: str) -> None:
    """Write the identity into every header of a request or response that has room for it."""
    uri = f"sip:{who.number}@{who.host}"
    quoted = f'"{who.name}" <{uri}>'
    headers = {
        "P-Asserted-Identity": quoted,
        "Remote-Party-ID": f"{quoted};party=calling;screen=yes;privacy=off",
        "Call-Info": f"<http://{who.host}/{who.digits}.png>;purpose=icon",
        "Organization": f"{who.name} of {who.digits}",
        "Reply-To": quoted,
        "P-Charging-Vector": f"icid-value={who.digits};icid-generated-at={who.host};orig-ioi={who.host}",
        "P-Access-Network-Info": f"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp={who.digits}",
        "X-Subscriber": f"{who.number};{who.name}",
        "User-to-User": f"{who.digits.encode().hex()};encoding=hex",
    }
    if isinstance(message, SipRequest):
        headers |= {
            "User-Agent": f"Phone of {who.name} {who.number}",
            "Subject": f"{who.name} {who.number} calling",
            "P-Preferred-Identity": quoted,
            "Diversion": f"{quoted};reason=unconditional",
            "History-Info": f"<{uri}>;index=1",
            "Geolocation": f"<sip:{who.digits}@{who.host}>",
        }
    else:
        headers |= {
            "Server": f"Phone of {who.name} {who.number}",
            "Warning": f'399 {who.host} "{who.name} {who.number}"',
            "Error-Info": f"<sip:{who.digits}@{who.host}>",
            "Alert-Info": f"<http://{who.host}/{who.digits}.wav>",
        }
    if method in ("BYE", "CANCEL"):
        headers["Reason"] = f'Q.850;cause=16;text="{who.name} {who.number}"'
    for name, value in headers.items():
        if name.lower() not in message.headers:
            message.headers.set_single(name, value)


def sdp_lines(who: Identity) -> tuple[tuple[str, str], ...]:
    """The SDP lines that say who it is, as (type, value)."""
    return (
        ("s", f"Call of {who.name} {who.number}"),
        ("i", f"{who.name} {who.number} at {who.host}"),
        ("u", f"http://{who.host}/{who.digits}"),
        ("e", f"{who.digits}@{who.host} ({who.name})"),
        ("p", f"{who.number} ({who.name})"),
        ("a", f"x-owner:{who.name} {who.number} {who.host}"),
        ("a", f"tool:{who.name} {who.digits}"),
    )
