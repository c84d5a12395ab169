"""A call's SIP messages in order: who sent which to whom, and which say again what was said before."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from xiaohao.calls.model import Call, Try
from xiaohao.trace.model import Message
from xiaohao.trace.sip import Sip, parse

#: further parties of one call than this are put together
_MOST_PARTIES: Final = 8


#: the platform's own user agent, which plays prompts
ANNOUNCER: Final = "announcer · 播音"


class Party(msgspec.Struct, frozen=True):
    """Somebody beyond the platform: a carrier's address on one side of the call."""

    caller_side: bool
    address: str
    port: int
    #: the trunk's name; None where it is not known
    trunk: str | None = None


class Step(msgspec.Struct, frozen=True):
    """One message of a call. `party` counts in `Legs.parties`."""

    message: Message
    sip: Sip
    party: int
    #: the platform received it
    received: bool
    repeated: bool


class Legs(msgspec.Struct, frozen=True):
    """All messages of a call that are kept; `cut` further ones are not."""

    parties: list[Party]
    steps: list[Step]
    cut: int


def legs_of(
    messages: Iterable[Message],
    cut: int,
    call: Call,
    tries: Sequence[Try],
    names: Mapping[str, str],
    announcer: tuple[str, int] | None = None,
) -> Legs:
    """Put the messages of a call in order. `names`: trunk id → name; `announcer`: where ours listens."""
    ordered = sorted(messages, key=lambda message: message.at)
    read = [(message, parse(message.text)) for message in ordered]
    ours = _our_addresses(read, announcer)
    parties: dict[tuple[bool, str], int] = {}
    found: list[Party] = []
    steps: list[Step] = []
    said: set[tuple[bool, str, int, bytes]] = set()
    for message, sip in read:
        received = _is_received(message, ours)
        address, port = (
            (message.source, message.source_port)
            if received
            else (message.destination, message.destination_port)
        )
        speaks = (address, port) == announcer
        key = (message.caller_side, "" if speaks else address)
        if key not in parties:
            if len(found) < _MOST_PARTIES:
                trunk = call.trunk_in if message.caller_side else _trunk_of(message, tries, call)
                name = ANNOUNCER if speaks else names.get(trunk or "")
                found.append(Party(message.caller_side, address, port, name))
            parties[key] = len(found) - 1
        words = (received, address, port, message.text)
        steps.append(Step(message, sip, parties[key], received, words in said))
        said.add(words)
    return Legs(found, steps, cut)


def _our_addresses(
    read: Sequence[tuple[Message, Sip]], announcer: tuple[str, int] | None
) -> set[tuple[str, int]]:
    """The edge's own sockets: where calls come in (the announcer's, too), and where they leave from."""
    ours = set()
    for message, sip in read:
        if sip.begins_call:
            source = (message.source, message.source_port)
            comes_in = message.caller_side or source == announcer
            ours.add((message.destination, message.destination_port) if comes_in else source)
    return ours


def _is_received(message: Message, ours: set[tuple[str, int]]) -> bool:
    if (message.source, message.source_port) in ours:
        return False
    if (message.destination, message.destination_port) in ours:
        return True
    # the beginning was lost: it is from whom nothing of ours comes
    return message.source not in {address for address, _ in ours}


def _trunk_of(message: Message, tries: Sequence[Try], call: Call) -> str | None:
    """The trunk of the try that was nearest in time to the first message to or from an address."""
    if not tries:
        return call.trunk_out
    return min(tries, key=lambda attempt: abs(attempt.at - message.at)).trunk_id
