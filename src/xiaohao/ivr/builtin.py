"""The dialogues that the platform brings: they can be assigned by their names, as a customer's own can."""

from typing import Final

from xiaohao.calls.model import Reason
from xiaohao.ivr.model import Collect, Connect, Graph, HangUp, Kind, Look, Node, Play


def _dialogue(subject: str, kind: Kind, least: int, most: int, reason: Reason) -> Graph:
    """Ask three times for what is looked up, and connect with whom it means."""
    nodes: dict[str, Node] = {
        "ask": Collect(
            prompt=f"ask_{subject}",
            digits="look",
            nothing="ask",
            exhausted="give_up",
            least=least,
            most=most,
            first_ms=8000,
        ),
        "look": Look(kind, found="connect", not_found="wrong", trouble="trouble"),
        "wrong": Play(f"wrong_{subject}", next="ask", barge_in=True),
        "connect": Connect(),
        "give_up": Play("no_more_tries", next="refuse"),
        "refuse": HangUp(reason.value),
        "trouble": HangUp(Reason.PLATFORM_ERROR.value),
    }
    return Graph("ask", nodes)


#: who dials the X of an AXE binding
AXE: Final = "axe"
#: what becomes of a caller whom no binding knows
LAST_DIGITS: Final = "last_digits"
ORDER_CODE: Final = "order_code"

BUILT_IN: Final[dict[str, Graph]] = {
    AXE: _dialogue("extension", Kind.EXTENSION, 1, 6, Reason.EXTENSION_UNKNOWN),
    LAST_DIGITS: _dialogue("last_digits", Kind.LAST_DIGITS, 4, 4, Reason.UNKNOWN_CALLER),
    ORDER_CODE: _dialogue("order_code", Kind.ORDER_CODE, 1, 20, Reason.UNKNOWN_CALLER),
}
