"""The rules of all modes, without a database, against a model that is as slow and obvious as can be."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xiaohao.bindings.model import Direction, LegState, Mode, Role
from xiaohao.bindings.modes import (
    ANYONE,
    claim_of,
    extension_key,
    is_extension,
    leg_rows,
    misfit,
)
from xiaohao.bindings.recognition import LegRow, Outcome, judge

PEOPLE = ["Anna", "Bo", "Chen"]
X, Y = "+864001234567", "+861062000001"
NOW = 1_000
PERSONAL = (Mode.AXYB, Mode.AXB, Mode.AX)


def key(person: str) -> bytes:
    return person.encode().ljust(16, b".")


@dataclass(frozen=True)
class Terms:
    """One binding. B None: not known. `stranger`: who called an X of mode AX last."""

    mode: Mode
    a: str
    b: str | None
    direction: Direction
    extension: str
    stranger: str | None = None

    def row(self) -> dict[str, Any]:
        has_b = self.b is not None and self.mode in PERSONAL
        return {
            "id": "bnd_1",
            "customer_id": "cus_1",
            "mode": self.mode.value,
            "a_key": None if self.mode is Mode.X else key(self.a),
            "a_sealed": None if self.mode is Mode.X else self.a.encode(),
            "b_key": key(str(self.b)) if has_b else None,
            "b_sealed": str(self.b).encode() if has_b else None,
            "x": X,
            "y": Y if self.mode is Mode.AXYB and has_b else None,
            "extension": self.extension if self.mode is Mode.AXE else None,
            "direction": self.direction.value,
            "expires_at": None,
            "record": True,
            "max_duration_s": None,
            "prompts": None,
            "order_ref": None,
            "user_data": None,
        }


def obvious(
    terms: Terms, caller: str | None, dialled: str, extension: str | None
) -> tuple[Outcome, str, str]:
    """What must happen: (outcome, callee, display), told mode by mode as one would tell a child."""
    from_a, from_b = caller == terms.a, terms.b is not None and caller == terms.b
    if terms.mode is Mode.AXE:
        if extension is None:
            return Outcome.EXTENSION_NEEDED, "", ""
        if extension != terms.extension:
            return Outcome.EXTENSION_UNKNOWN, "", ""
        return towards_a(terms, X)
    if terms.mode is Mode.X:
        return Outcome.ROUTING_MISSING, "", ""
    if terms.mode is Mode.AX:
        if from_a:
            back = terms.b or terms.stranger
            if back is None and terms.direction is not Direction.B_TO_A:
                return Outcome.NO_LAST_CALLER, "", ""
            return towards_b(terms, str(back), X)
        return towards_a(terms, X)
    if terms.mode is Mode.AXB:
        if from_a:
            return towards_b(terms, str(terms.b), X)
        return towards_a(terms, X) if from_b else (Outcome.UNKNOWN_CALLER, "", "")
    if terms.b is None:
        barred = terms.direction is Direction.A_TO_B
        return (Outcome.DIRECTION_NOT_ALLOWED if barred else Outcome.NO_Y_FREE), "", ""
    if from_a and dialled == Y:
        return towards_b(terms, terms.b, X)
    if from_b and dialled == X:
        return towards_a(terms, Y)
    return Outcome.UNKNOWN_CALLER, "", ""


def towards_a(terms: Terms, display: str) -> tuple[Outcome, str, str]:
    if terms.direction is Direction.A_TO_B:
        return Outcome.DIRECTION_NOT_ALLOWED, "", ""
    return Outcome.CONNECT, terms.a, display


def towards_b(terms: Terms, b: str, display: str) -> tuple[Outcome, str, str]:
    if terms.direction is Direction.B_TO_A:
        return Outcome.DIRECTION_NOT_ALLOWED, "", ""
    return Outcome.CONNECT, b, display


def found(
    table: list[dict[str, Any]], keys: list[bytes], dialled: str, claim: bytes | None, **other: Any
) -> LegRow:
    """What the query finds in this table of legs: the first key's leg before the second's."""
    number = LegRow(*("available", "anyone", claim, "cus_1", "active"), *(None,) * 22)
    for wanted in keys:
        for leg in table:
            if (leg["caller_key"], leg["dialled"]) == (wanted, dialled):
                shown = leg["display"]
                state = None if shown is None else "available"
                return number._replace(
                    leg_state=leg["state"],
                    **{name: leg[name] for name in ("role", "mode", "barred", "binding_id", "callee_sealed")},
                    **{name: leg[name] for name in ("display", "valid_until", "record", "max_duration_s")},
                    display_state=state,
                    shown=shown,
                    shown_state=state,
                    shown_displayable=None if shown is None else 1,
                    shown_kind=None if shown is None else "landline",
                    shown_verification=None if shown is None else "none",
                )._replace(**other)
    return number._replace(**{name: value for name, value in other.items() if name == "number_state"})


def table_of(terms: Terms) -> list[dict[str, Any]]:
    table = leg_rows(terms.row())
    for leg in table:
        if terms.mode is Mode.AX and leg["role"] == Role.A and terms.b is None and terms.stranger:
            leg["callee_sealed"] = terms.stranger.encode()  # as the switch does
    return table


terms_of_any_mode = st.builds(
    Terms,
    st.sampled_from(Mode),
    st.just("Anna"),
    st.sampled_from(["Bo", None]),
    st.sampled_from(Direction),
    st.sampled_from(["1", "123", "000000"]),
    st.sampled_from([None, "Chen"]),
).filter(
    lambda terms: (
        (terms.b is not None or terms.mode is not Mode.AXB)
        and (terms.mode is not Mode.X or terms.direction is Direction.BOTH)
    )
)


@given(
    terms=terms_of_any_mode,
    caller=st.sampled_from([*PEOPLE, None]),
    dialled=st.sampled_from([X, Y]),
    extension=st.sampled_from([None, "1", "123", "12"]),
)
def test_every_mode_connects_whom_it_says(
    terms: Terms, caller: str | None, dialled: str, extension: str | None
) -> None:
    if dialled == Y and (terms.mode is not Mode.AXYB or terms.b is None):
        return  # nobody has this number
    if terms.mode is not Mode.AXE:
        extension = None
    own = b"" if caller is None else key(caller)
    if extension is not None:
        own = extension_key(extension)
    claim = claim_of(terms.mode, key(terms.a))
    row = found(table_of(terms), [own, ANYONE], dialled, claim if dialled == X else None)
    match = judge(row, NOW, extension=extension is not None)
    outcome, callee, display = obvious(terms, caller, dialled, extension)
    assert match.outcome is outcome
    if outcome is Outcome.CONNECT:
        assert match.callee_sealed is not None
        assert (match.callee_sealed.decode(), match.display) == (callee, display)


def leg_of(mode: Mode, role: Role, **row: Any) -> LegRow:
    terms = Terms(mode, "Anna", "Bo" if mode in (Mode.AXYB, Mode.AXB) else None, Direction.BOTH, "1", "Chen")
    leg = next(leg for leg in table_of(terms) if leg["role"] == role)
    return found([leg], [leg["caller_key"]], leg["dialled"], None, **row)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "connect"),
        ({"number_state": "suspended"}, "number_not_in_service"),
        ({"number_state": "in_stock"}, "number_not_in_service"),
        ({"number_state": "retired"}, "number_not_in_service"),
        ({"number_state": "ageing"}, "connect"),
        ({"customer_state": "suspended"}, "customer_suspended"),
        ({"barred": 1}, "direction_not_allowed"),
        ({"valid_until": NOW + 1}, "connect"),
        ({"valid_until": NOW}, "binding_expired"),
        ({"leg_state": LegState.QUARANTINED}, "binding_expired"),
        ({"leg_state": LegState.QUARANTINED, "grace_until": NOW}, "binding_expired"),
        ({"leg_state": LegState.QUARANTINED, "grace_until": NOW + 1}, "connect"),
        ({"valid_until": NOW, "grace_until": NOW + 1}, "connect"),
        ({"leg_state": LegState.QUARANTINED, "grace_until": NOW + 1, "barred": 1}, "direction_not_allowed"),
        ({"display_state": "suspended"}, "number_not_in_service"),
        ({"shown_state": "retired"}, "number_not_in_service"),
        ({"shown_state": "ageing"}, "connect"),
        ({"shown_displayable": 0}, "display_not_allowed"),
        ({"shown": None, "shown_state": None}, "display_not_allowed"),
        ({"shown_kind": "mobile", "shown_verification": "pending"}, "number_not_verified"),
        ({"shown_kind": "mobile", "shown_verification": "expired"}, "number_not_verified"),
        ({"shown_kind": "mobile", "shown_verification": "verified"}, "connect"),
        (
            {"shown_kind": "mobile", "shown_verification": "verified", "shown_verified_until": NOW},
            "number_not_verified",
        ),
        (
            {"shown_kind": "mobile", "shown_verification": "verified", "shown_verified_until": NOW + 1},
            "connect",
        ),
    ],
)
@pytest.mark.parametrize(("mode", "role"), [(Mode.AXYB, Role.A), (Mode.AXYB, Role.B), (Mode.AXB, Role.A)])
def test_what_bars_a_call_between_two_people(
    mode: Mode, role: Role, change: dict[str, Any], outcome: str
) -> None:
    match = judge(leg_of(mode, role, **change), NOW)
    assert match.outcome == outcome
    ended = change.get("leg_state") == LegState.QUARANTINED or change.get("valid_until") == NOW
    assert match.in_grace is (ended and outcome != "binding_expired")


@pytest.mark.parametrize(
    ("mode", "role"), [(Mode.AX, Role.A), (Mode.AX, Role.B), (Mode.AXE, Role.B), (Mode.X, Role.B)]
)
def test_only_a_pair_has_a_time_of_grace(mode: Mode, role: Role) -> None:
    row = leg_of(mode, role, leg_state=LegState.QUARANTINED, grace_until=NOW + 1)
    assert judge(row, NOW).outcome is Outcome.BINDING_EXPIRED


def test_callers_from_abroad() -> None:
    barred = leg_of(Mode.AX, Role.B, dialled_by="domestic")
    assert judge(barred, NOW, from_abroad=True).outcome is Outcome.CALLER_FROM_ABROAD
    assert judge(barred, NOW).outcome is Outcome.CONNECT
    assert judge(leg_of(Mode.AX, Role.B), NOW, from_abroad=True).outcome is Outcome.CONNECT
    stranger = found([], [b""], X, None)._replace(dialled_by="domestic")
    assert judge(stranger, NOW, from_abroad=True).outcome is Outcome.CALLER_FROM_ABROAD


ALL = dict.fromkeys(("a", "b", "x", "y", "x_pool", "y_pool", "extension", "y_life_s"))


@pytest.mark.parametrize(
    ("mode", "given", "field"),
    [
        ("axyb", {"a": "1", "b": "2", "x_pool": "p", "y_pool": "q"}, None),
        ("axyb", {"a": "1", "b": "2"}, None),
        ("axyb", {"a": "1"}, "b"),
        ("axyb", {"a": "1", "y_on_demand": True, "y_pool": "q"}, None),
        ("axyb", {"a": "1", "y_on_demand": True, "y_pool": "q", "y_life_s": 60}, None),
        ("axyb", {"a": "1", "y_on_demand": True}, "y_pool"),
        ("axyb", {"a": "1", "b": "2", "y_on_demand": True, "y_pool": "q"}, "b"),
        ("axyb", {"a": "1", "b": "2", "y_life_s": 60}, "y_life_s"),
        ("axyb", {"a": "1", "b": "2", "extension": "1"}, "extension"),
        ("axb", {"a": "1", "b": "2", "x": "3"}, None),
        ("axb", {"a": "1", "x": "3"}, "b"),
        ("axb", {"a": "1", "b": "2", "y_pool": "q"}, "y_pool"),
        ("axb", {"a": "1", "b": "2", "y_on_demand": True}, "y_on_demand"),
        ("ax", {"a": "1"}, None),
        ("ax", {"a": "1", "b": "2"}, None),
        ("ax", {"b": "2"}, "a"),
        ("axe", {"a": "1", "extension": "123456"}, None),
        ("axe", {"a": "1", "extension": "1234567"}, "extension"),
        ("axe", {"a": "1", "extension": ""}, "extension"),
        ("axe", {"a": "1", "b": "2"}, "b"),
        ("x", {"x": "3"}, None),
        ("x", {"a": "1", "x": "3"}, "a"),
    ],
)
def test_what_a_binding_of_each_mode_is_made_of(mode: str, given: dict[str, Any], field: str | None) -> None:
    wrong = misfit(Mode(mode), Direction.BOTH, {**ALL, "y_on_demand": False, **given})
    assert (None if wrong is None else wrong[0]) == field


@pytest.mark.parametrize(
    ("mode", "direction", "fits"),
    [("axe", "b_to_a", True), ("axe", "a_to_b", False), ("x", "b_to_a", False), ("ax", "a_to_b", True)],
)
def test_directions_that_a_mode_has(mode: str, direction: str, fits: bool) -> None:
    given = {**ALL, "y_on_demand": False, "a": None if mode == "x" else "1"}
    assert (misfit(Mode(mode), Direction(direction), given) is None) is fits


@given(st.text(max_size=8))
def test_extensions_are_one_to_six_plain_digits(text: str) -> None:
    plain = 1 <= len(text) <= 6 and all(character in "0123456789" for character in text)
    assert is_extension(text) is plain
    if plain:
        assert len(extension_key(text)) < 16  # never a person's
