"""The searcher finds what it is there to find: else the tests of masking would prove nothing."""

import base64
import hashlib
import urllib.parse

import pytest

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier

from .searcher import Call, Secrets, leaks, search, secrets_of, spellings

NUMBER = "+8613572468019"
LEAKY = Behaviour(leaky_headers=True, hang_up_after_s=0.5)


def escaped(text: str) -> str:
    return "".join(f"%{ord(letter):02X}" for letter in text)


ENCODINGS = {
    "as it is": lambda text: text,
    "hex": lambda text: text.encode().hex(),
    "upper hex": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, one before": lambda text: base64.b64encode(b"~" + text.encode()).decode(),
    "base64, two before, one behind": lambda text: base64.b64encode(b"??" + text.encode() + b"!").decode(),
    "base64url": lambda text: base64.urlsafe_b64encode(b"\xff\xfe" + text.encode()).decode(),
    "url-escaped": escaped,
    "url-escaped in part": lambda text: text[:5] + escaped(text[5:8]) + text[8:],
    "url-escaped twice": lambda text: urllib.parse.quote(escaped(text)),
    "with hyphens": lambda text: f"{text[:3]}-{text[3:7]}-{text[7:]}",
    "with spaces": lambda text: " ".join(text),
    "md5": lambda text: hashlib.md5(text.encode()).hexdigest(),
    "sha256": lambda text: hashlib.sha256(text.encode()).hexdigest(),
}


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("spelling", spellings(NUMBER).values(), ids=spellings(NUMBER))
async def test_every_writing_of_every_spelling_is_found(spelling: str, encoding: object) -> None:
    """A number that stands in the middle of something longer, too."""
    written = encoding(spelling)  # type: ignore[operator]
    message = f"INVITE sip:x SIP/2.0\r\nX-Any: abc{written}def\r\n\r\n".encode()
    found = search(message, Secrets(numbers=[NUMBER]), "a message")
    assert found
    assert not search(message, Secrets(numbers=["+8615936914725"]), "a message")


async def test_number_in_binary() -> None:
    """As an integer, and as packed digits the way of ISUP."""
    secrets = Secrets(numbers=[NUMBER])
    value = int(NUMBER)
    for data in (
        value.to_bytes(8, "big"),
        value.to_bytes(8, "little"),
        f"{value:x}".encode(),
        b"\x86\x13\x57\x24\x68\x01\x9f",
    ):
        assert search(b"\x00" + data + b"\x00", secrets, "a packet")


def unsaid(call: Call) -> set[bytes]:
    return {call.identity.name.replace(" ", "").encode(), call.carrier.product.encode()}


async def test_phones_that_talk_directly_learn_everything() -> None:
    """Without the platform between them each finds all that the other says: in SIP, SDP and RTCP."""
    async with (
        Carrier("127.0.0.71", edge=("127.0.0.72", 0)) as near,
        Carrier("127.0.0.72", edge=("127.0.0.71", 0)) as far,
    ):
        near.edge = far.address
        caller = near.add_phone("+8613572468019", 400, behaviour=LEAKY)
        callee = far.add_phone("+8615936914725", 900, behaviour=LEAKY)
        call = await caller.call(callee.number)
        other = await callee.next_call()
        await call.wait_answered()
        await call.wait_ended()
        for hearer, speaker in ((call, other), (other, call)):
            secrets = secrets_of([speaker])
            found = leaks([hearer], secrets)
            missed = {label for label in secrets.texts if label not in {finding.secret for finding in found}}
            # a leaky phone says its name with a space, and hides the simulator's name behind it
            assert missed == {label for label, text in secrets.texts.items() if text in unsaid(speaker)}
            assert {"number, e164", "number, digits", "number, national"} <= {f.secret for f in found}
            places = {finding.where for finding in found}
            assert {"RTCP 200"} <= places
            assert any(place.startswith(("INVITE", "SIP/2.0 200")) for place in places)
        assert any(finding.where.startswith("BYE") for finding in leaks([call], secrets_of([other])))
