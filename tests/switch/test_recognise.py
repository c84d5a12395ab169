"""What was dialled, as a number or as a number with an extension behind it."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.ids import new_call_id
from xiaohao.bindings.modes import EXTENSIONS, extension_key
from xiaohao.bindings.recognition import LegRow
from xiaohao.calls.model import Call
from xiaohao.secrecy import Vault
from xiaohao.switch.carriers import numbers_with_extension
from xiaohao.switch.recognise import recognise
from xiaohao.trunks.model import Trunk, TrunkSpec

VAULT = Vault(bytes(32))
CALLER, A = "+8613800000001", "+8613900000002"
X, SHORT, SHORTER = "+864001234567", "+86951234", "+8695123"
PLAIN = Trunk("trk_1", "plain", "active", TrunkSpec("carrier", [], ["127.0.0.3"]))
PREFIXED = Trunk("trk_2", "prefixed", "active", TrunkSpec("carrier", [], ["127.0.0.3"], prefix_in="99"))


class Table:
    """X of mode AXE, each with its extensions; counts the questions."""

    def __init__(self, *xs: tuple[str, str]) -> None:
        self.xs = xs
        self.asked = 0

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def find(self, caller_key: bytes, dialled: str, now: int) -> Sequence[Any] | None:
        self.asked += 1
        if dialled not in {x for x, _ in self.xs}:
            return None
        row = LegRow(*("in_service", "anyone", EXTENSIONS, "cus_1", "active"), *(None,) * 22)
        if caller_key not in {extension_key(extension) for x, extension in self.xs if x == dialled}:
            return row
        return row._replace(
            **{"leg_state": "live", "role": "b", "mode": "axe", "barred": 0, "binding_id": "bnd_1"},
            **{
                "callee_sealed": VAULT.seal(A),
                "display": dialled,
                "record": 1,
                "display_state": "in_service",
            },
            **{"shown": dialled, "shown_state": "in_service", "shown_displayable": 1},
            **{"shown_kind": "400", "shown_verification": "none"},
        )


@pytest.mark.parametrize(
    ("user", "trunk", "outcome", "dialled"),
    [
        ("4001234567123", PLAIN, "connect", X),
        ("+864001234567123", PLAIN, "connect", X),
        ("4001234567123;phone-context=x", PLAIN, "connect", X),
        ("994001234567123", PREFIXED, "connect", X),
        ("4001234567", PLAIN, "extension_needed", X),
        ("4001234567124", PLAIN, "extension_unknown", X),
        ("40012345671234567", PLAIN, "unknown_number", "400****4567"),
        ("4007654321123", PLAIN, "unknown_number", "400****1123"),
        ("400123456712a", PLAIN, "unknown_number", "400****712a"),
        # 951234 and 1, not 95123 and 41: the longer number has an extension 1
        ("9512341", PLAIN, "connect", SHORT),
        # 951234 has no extension 2, but 95123 has 42
        ("9512342", PLAIN, "connect", SHORTER),
    ],
)
async def test_extensions(user: str, trunk: Trunk, outcome: str, dialled: str) -> None:
    table = Table((X, "123"), (SHORT, "1"), (SHORTER, "42"))
    call = Call(new_call_id(), "edge1", 1, dialled="", caller=CALLER)
    match = await recognise(call, user, trunk, "CN", VAULT, table)
    assert (match.outcome, call.dialled) == (outcome, dialled)
    assert call.customer_id == (None if outcome == "unknown_number" else "cus_1")
    assert table.asked <= 7


async def test_a_number_of_the_platform_costs_one_question() -> None:
    table = Table((X, "123"))
    call = Call(new_call_id(), "edge1", 1, dialled="", caller=None)
    await recognise(call, "4001234567", PLAIN, "CN", VAULT, table)
    assert table.asked == 1


def test_every_way_to_read_an_extension() -> None:
    assert numbers_with_extension("95123412", PLAIN, "CN") == [
        ("+869512341", "2"),
        ("+86951234", "12"),
        ("+8695123", "412"),
    ]
