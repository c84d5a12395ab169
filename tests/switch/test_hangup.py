"""The BYEs that the platform sends, built from both sides' dialogs (RFC 3261 section 12)."""

from typing import Any

from xiaohao.edge.rpc import RpcError
from xiaohao.edge.wire import Dialogs
from xiaohao.switch.hangup import byes, hang_up


def said(text: str) -> str:
    return text.encode().hex()


CALLER_SIDE = [
    said("their-call-id"),
    said("their-tag"),
    said("sip:13800000001@127.0.0.2"),
    said("sip:01062000001@127.0.0.1"),
    said("sip:phone@127.0.0.2:5062"),
    said("<sip:proxy@127.0.0.9:5070;lr>, <sip:second@127.0.0.8;lr>"),
    "<sip:id.a@127.0.0.1:5060>",
    "udp:127.0.0.1:5060",
    "1",
]
CALLEE_SIDE = [
    "<sip:17000000001@127.0.0.1>;tag=ours",
    "<sip:13900000002@127.0.0.3>",
    said("callee-tag"),
    said("sip:callee@127.0.0.3:5063"),
    "<null>",
    "<sip:id.b@127.0.0.1:5060>",
    "shown-tag",
    "tcp:127.0.0.1:5060",
]
DIALOGS = Dialogs("id", True, CALLER_SIDE, CALLEE_SIDE)


class RpcDouble:
    def __init__(self, fails: bool = False) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.fails = fails

    async def call(self, method: str, *parameters: Any) -> None:
        self.calls.append((method, parameters))
        if self.fails:
            raise RpcError("no answer")


def test_bye_to_each_side() -> None:
    to_caller, to_callee = byes(DIALOGS, 31)
    assert to_caller[:4] == [
        "BYE",
        "sip:phone@127.0.0.2:5062",
        "sip:proxy@127.0.0.9:5070;lr",
        "udp:127.0.0.1:5060",
    ]
    assert to_caller[4].split("\r\n") == [
        "From: <sip:01062000001@127.0.0.1>;tag=shown-tag",
        "To: <sip:13800000001@127.0.0.2>;tag=their-tag",
        "Call-ID: their-call-id",
        "CSeq: 2147483640 BYE",
        "Reason: Q.850;cause=31",
        "Route: <sip:proxy@127.0.0.9:5070;lr>, <sip:second@127.0.0.8;lr>",
        "",
    ]
    assert to_callee[:4] == ["BYE", "sip:callee@127.0.0.3:5063", ".", "tcp:127.0.0.1:5060"]
    assert "To: <sip:13900000002@127.0.0.3>;tag=callee-tag\r\nCall-ID: id\r\n" in to_callee[4]
    # nothing of one side in what goes to the other
    assert "13800000001" not in "".join(to_callee)
    assert "13900000002" not in "".join(to_caller)


async def test_answered_call_is_ended_on_both_sides() -> None:
    rpc = RpcDouble()
    await hang_up(rpc, DIALOGS, 31)  # type: ignore[arg-type]
    assert [method for method, _ in rpc.calls] == ["tm.t_uac_start"] * 2


async def test_unanswered_call_is_cancelled() -> None:
    rpc = RpcDouble()
    await hang_up(rpc, Dialogs("id", False, CALLER_SIDE, []), 31)  # type: ignore[arg-type]
    assert rpc.calls == [("tm.cancel", ("their-call-id", "1"))]


async def test_trouble_is_borne() -> None:
    rpc = RpcDouble(fails=True)
    await hang_up(rpc, DIALOGS, 31)  # type: ignore[arg-type]
    assert len(rpc.calls) == 2  # the second side is told though the first could not be
    await hang_up(RpcDouble(), Dialogs("id", True, [], []), 31)  # type: ignore[arg-type]
