"""Who is bound to (caller, dialled)? The one question that decides who is connected to whom."""

from xiaohao.bindings.model import Mode
from xiaohao.bindings.modes import EXTENSIONS, extension_key, is_extension
from xiaohao.bindings.recognition import LegMatch, LegRow, Outcome, as_anyone, is_over_for_b, judge
from xiaohao.calls.model import Call
from xiaohao.numbers.model import is_foreign
from xiaohao.routing.decision import Decision
from xiaohao.secrecy import Vault, masked
from xiaohao.switch import carriers as trunking
from xiaohao.switch.lookup import Lookup
from xiaohao.trunks.model import Trunk


async def recognise(
    call: Call, user: str, trunk: Trunk, region: str, vault: Vault, lookup: Lookup
) -> LegMatch:
    """Find the leg of this call and write into the call what it says; `call.caller` is known.

    `user` is what was dialled as the carrier wrote it. A number that is not the platform's may be one of mode
    AXE with an extension behind it, dialled in one go; otherwise it may be a person's, and is written masked.
    Raises DatabaseUnavailable.
    """
    dialled = trunking.number_dialled(user, trunk, region)
    call.dialled = masked(dialled or user[:32])
    match = LegMatch(Outcome.UNKNOWN_NUMBER)
    from_abroad = call.caller is not None and is_foreign(call.caller)
    if dialled is not None:
        key = vault.index(call.caller) if call.caller else b""
        row = await lookup.find(key, dialled, call.received_at)
        match = judge(row, call.received_at, from_abroad=from_abroad)
        if is_over_for_b(match):
            row = await lookup.find(b"", dialled, call.received_at)
            anyone = judge(row, call.received_at, from_abroad=from_abroad)
            match = as_anyone(match, anyone, vault.open)
    behind = trunking.digits_behind(user)
    if match.outcome is Outcome.EXTENSION_NEEDED and dialled is not None and is_extension(behind):
        row = await lookup.find(extension_key(behind), dialled, call.received_at)
        match = judge(row, call.received_at, from_abroad=from_abroad, extension=True)
    if match.outcome is Outcome.UNKNOWN_NUMBER:
        for number, extension in trunking.numbers_with_extension(user, trunk, region):
            row = await lookup.find(extension_key(extension), number, call.received_at)
            if row is not None and LegRow(*row).claim == EXTENSIONS:
                call.dialled = number
                match = judge(row, call.received_at, from_abroad=from_abroad, extension=True)
                if match.binding_id is not None:
                    break
    elif dialled is not None:
        call.dialled = dialled
    note(call, match)
    return match


def note(call: Call, match: LegMatch) -> None:
    """Write into the call whose it is."""
    call.customer_id, call.pool_id, call.binding_id = match.customer_id, match.pool_id, match.binding_id
    call.mode, call.role, call.in_grace = match.mode, match.role, match.in_grace
    call.prompts = match.prompts
    call.order_ref, call.user_data = match.order_ref, match.user_data


def take_note(call: Call, decision: Decision) -> None:
    """Write into a call what its customer decided: it is no longer a call between the two of a binding."""
    if call.mode != Mode.X:
        call.binding_id = None
    call.mode, call.role, call.in_grace = Mode.X, None, False
    call.order_ref = decision.order_ref or call.order_ref
    call.user_data = decision.user_data or call.user_data


def match_of(decision: Decision, match: LegMatch) -> LegMatch:
    """The customer's decision to connect, as if a binding had said it."""
    way = decision.way
    assert way is not None  # noqa: S101 – a decision without a way has a reason
    return LegMatch(
        Outcome.CONNECT,
        match.customer_id,
        mode=Mode.X,
        callee=way.callee,
        display=way.display,
        display_trunk_id=way.display_trunk_id,
        record=way.record,
        max_duration_s=way.max_duration_s,
        prompts=way.prompts,
        order_ref=decision.order_ref,
        user_data=decision.user_data,
        door=match.door,
        pool_id=match.pool_id,
        routing=match.routing,
    )
