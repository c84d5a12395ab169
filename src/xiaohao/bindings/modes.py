"""The modes: which legs a binding has, and whose number its X becomes. Pure rules, no database.

A leg says: who dials this number reaches that person, who sees this number. `recognition.judge` reads it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from xiaohao.bindings.model import Direction, LegState, Mode, Role

#: `legs.caller_key` of a leg that anyone may dial. A person's key has 16 bytes, so that none is mistaken.
ANYONE: Final = b"*"
#: `numbers.assigned_to_key` of an X behind which several people are told apart by extensions.
EXTENSIONS: Final = b"#"
LONGEST_EXTENSION: Final = 6
_PERSONS_KEY: Final = 16
_EXTENSION: Final = re.compile(rf"[0-9]{{1,{LONGEST_EXTENSION}}}", re.ASCII)


#: modes that join two people who are both known: only such a pair is connected in its time of grace
PAIRS: Final = frozenset({Mode.AXYB, Mode.AXB})


def extension_key(extension: str) -> bytes:
    """`legs.caller_key` of whoever dials X and this extension."""
    return EXTENSIONS + extension.encode()


def is_of_many(key: bytes) -> bool:
    """Whether it is no person's key, so that legs of many an X have it."""
    return len(key) < _PERSONS_KEY


def is_extension(text: str) -> bool:
    """One to six digits."""
    return _EXTENSION.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Leg:
    """Who dials `dialled` reaches the `callee` (None: nobody that is known beforehand), who sees `display`.

    `display` is None where the one who dials is given a Y first, and where the customer is asked.
    """

    role: Role
    caller_key: bytes
    dialled: str
    callee: Role | None
    display: str | None


def legs_of(row: Mapping[str, Any]) -> list[Leg]:
    """The legs of a binding: of `a_key`, `b_key`, `x`, `y`, `extension` and `mode` of its row."""
    a_key, b_key, x, y = row["a_key"], row["b_key"], row["x"], row["y"]
    match Mode(row["mode"]):
        case Mode.AXYB if b_key is None:
            return [Leg(Role.B, ANYONE, x, Role.A, None)]
        case Mode.AXYB:
            return [Leg(Role.A, a_key, y, Role.B, x), Leg(Role.B, b_key, x, Role.A, y)]
        case Mode.AXB:
            return [Leg(Role.A, a_key, x, Role.B, x), Leg(Role.B, b_key, x, Role.A, x)]
        case Mode.AX:
            callee = None if b_key is None else Role.B
            return [Leg(Role.A, a_key, x, callee, x), Leg(Role.B, ANYONE, x, Role.A, x)]
        case Mode.AXE:
            return [Leg(Role.B, extension_key(row["extension"]), x, Role.A, x)]
        case Mode.X:
            return [Leg(Role.B, ANYONE, x, None, None)]


def is_barred(role: Role, direction: Direction) -> bool:
    """Whether this role may not call. The leg is there all the same: nobody else gets its key."""
    return direction is (Direction.B_TO_A if role is Role.A else Direction.A_TO_B)


def claim_of(mode: Mode, a_key: bytes | None) -> bytes | None:
    """What `numbers.assigned_to_key` of the X must be, or become; None: the X is nobody's.

    An X that is one person's, or all of whose calls go one way, is kept from every other use.
    """
    match mode:
        case Mode.AXYB | Mode.AX:
            return a_key
        case Mode.AXB:
            return None
        case Mode.AXE:
            return EXTENSIONS
        case Mode.X:
            return ANYONE


def callers_of_x(
    mode: Mode, a_key: bytes | None, b_key: bytes | None, extension: str | None = None
) -> list[bytes]:
    """The keys of those who dial X: each must be free there."""
    match mode:
        case Mode.AXYB:
            return [ANYONE if b_key is None else b_key]
        case Mode.AXB:
            return [key for key in (a_key, b_key) if key is not None]
        case Mode.AX:
            return [ANYONE, *([] if a_key is None else [a_key])]
        case Mode.AXE:
            return [] if extension is None else [extension_key(extension)]
        case Mode.X:
            return [ANYONE]


def takes_all(mode: Mode, y_on_demand: bool) -> bool:
    """Whether anyone may dial the X, so that nobody else's leg may be dialled on it."""
    return mode in (Mode.AX, Mode.AXE, Mode.X) or y_on_demand


def leg_rows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table `legs` for the row of a live binding."""
    direction = Direction(row["direction"])
    sealed = {Role.A: row["a_sealed"], Role.B: row["b_sealed"], None: None}
    return [
        {
            "caller_key": leg.caller_key,
            "dialled": leg.dialled,
            "binding_id": row["id"],
            "customer_id": row["customer_id"],
            "role": leg.role.value,
            "mode": row["mode"],
            "state": LegState.LIVE.value,
            "barred": is_barred(leg.role, direction),
            "callee_sealed": sealed[leg.callee],
            "display": leg.display,
            "valid_until": row["expires_at"],
            "quarantine_until": None,
            "grace_until": None,
            "record": row["record"],
            "max_duration_s": row["max_duration_s"],
            "prompts": row["prompts"],
            "order_ref": row["order_ref"],
            "user_data": row["user_data"],
        }
        for leg in legs_of(row)
    ]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a binding of a mode is made of."""

    needs: tuple[str, ...]
    may_have: frozenset[str]


_NOTHING: Final = (None, False)
_X: Final = frozenset({"x", "x_pool", "x_city"})
_Y: Final = frozenset({"y", "y_pool", "y_city"})
_SHAPES: Final = {
    Mode.AXYB: _Shape(("a", "b"), _X | _Y),
    Mode.AXB: _Shape(("a", "b"), _X),
    Mode.AX: _Shape(("a",), _X | {"b"}),
    Mode.AXE: _Shape(("a",), _X | {"extension"}),
    Mode.X: _Shape((), _X),
}
#: an AXYB whose B is not known yet
_ON_DEMAND: Final = _Shape(("a", "y_on_demand", "y_pool"), _X | {"y_life_s"})
#: directions that leave a mode's only leg
_DIRECTIONS: Final = {Mode.AXE: (Direction.BOTH, Direction.B_TO_A), Mode.X: (Direction.BOTH,)}


def misfit(mode: Mode, direction: Direction, given: Mapping[str, Any]) -> tuple[str, str] | None:
    """What does not fit the mode: the field and what is wrong with it; None where everything does.

    `given` has `a`, `b`, `x`, `y`, their pools and cities, `extension`, `y_on_demand` and `y_life_s`; what is
    None or False counts as not given.
    """
    shape = _ON_DEMAND if mode is Mode.AXYB and given["y_on_demand"] else _SHAPES[mode]
    named = "axyb with y_on_demand" if shape is _ON_DEMAND else mode.value
    for field in shape.needs:
        if not given[field]:
            return field, f"mode {named} needs it"
    for field, value in given.items():
        if value not in _NOTHING and field not in shape.may_have and field not in shape.needs:
            return field, f"mode {named} has no such field"
    if mode in _DIRECTIONS and direction not in _DIRECTIONS[mode]:
        return "direction", f"mode {mode.value} has no calls in that direction"
    if given["extension"] is not None and not is_extension(given["extension"]):
        return "extension", "must be one to six digits"
    return None
