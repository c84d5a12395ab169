"""`make demo`: the customer's document on a whole platform, on loopback, with phones that ring and talk."""

import asyncio
import fcntl
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import typer

from xiaohao.secrecy import masked
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.customer import CustomerEndpoint, Delivery
from xiaohao.simulator.listen import sides_of
from xiaohao.simulator.phone import Phone
from xiaohao.simulator.stage import Stage, StageCustomer, StageError

FOLDER: Final = Path("run") / "demo"
EVENTS: Final = (
    "call.received", "call.ringing", "call.answered", "call.ended", "cdr.created", "recording.ready",
)  # fmt: skip
_DRIVER: Final = ("+8613800000001", 440)
_PASSENGER: Final = ("+8613900000002", 880)
_SECRET: Final = "whsec_" + "dGhlLWRlbW8tY3VzdG9tZXIncy1vd24tc2VjcmV0IQ=="
#: numbers whose calls the customer decides, X and Y of its own choice
_DECIDED: Final = ("+8617000000003", "+861062000003")
_ASKED: Final = "routing.asked"
_TALK_S: Final = 2.0
_SOFTPHONE: Final = ("+8613700000003", "softphone", "try-me-by-hand")


def _say(text: str = "") -> None:
    typer.echo(text)


class Demo:
    """The platform, two carriers, a driver, a passenger and the ride-hailing company's back end."""

    def __init__(self, stage: Stage, mobile: Carrier, city: Carrier, endpoint: CustomerEndpoint) -> None:
        self.stage, self.mobile, self.city, self.endpoint = stage, mobile, city, endpoint
        self.customer: StageCustomer
        self.x_pool = self.y_pool = ""
        self.faults: list[str] = []
        self._played = 0

    async def furnish(self) -> None:
        """What an operator does once, over the API."""
        stage = self.stage
        mobile = await stage.add_trunk("Mobile carrier", self.mobile.address)
        city = await stage.add_trunk("Beijing landlines", self.city.address)
        number, name, password = _SOFTPHONE
        digest = {"username": name, "password": password}
        spec = {"carrier": "softphone", "targets": [], "sources": [], "digest_in": digest}
        await stage.request("POST", "/v1/trunks", {"name": "softphone", "spec": spec})
        self.customer = await stage.add_customer("Ride Hailing Ltd.", self.endpoint.url)
        await self.customer.request("POST", "/v1/webhook/secret", {"secret": _SECRET})
        self.x_pool = await stage.add_pool("drivers", self.customer)
        self.y_pool = await stage.add_pool("passengers", self.customer)
        await stage.add_numbers(["+8617000000001", "+8617000000002"], mobile, self.x_pool)
        await stage.add_numbers(["+861062000001", "+861062000002"], city, self.y_pool)
        await self._furnish_scheme_2(mobile, city)
        for carrier in (self.mobile, self.city):
            for number, tone in (_DRIVER, _PASSENGER):
                carrier.add_phone(number, tone, behaviour=Behaviour(answer_after_s=1.0))

    async def _furnish_scheme_2(self, mobile: str, city: str) -> None:
        """Numbers about whose calls the customer's back end is asked."""
        plan = {"url": self.endpoint.url.replace("/notifications", "/routing")}
        await self.customer.request("PUT", "/v1/routing", plan)
        await self.customer.request("POST", "/v1/routing/secret", {"secret": _SECRET})
        for name, number, trunk in zip(("drivers 2", "passengers 2"), _DECIDED, (mobile, city), strict=True):
            pool = await self.stage.add_pool(name, self.customer)
            await self.stage.add_numbers([number], trunk, pool)
            await self.customer.request("PUT", f"/v1/pools/{pool}/routing", {"routing": "ask"})
        self.endpoint.answer = self._answer

    def _answer(self, delivery: Delivery) -> tuple[int, Any]:
        """What the ride-hailing back end keeps in its own database, and answers when it is asked."""
        if delivery.kind != _ASKED:
            return 204, None
        (x, y), driver, passenger = _DECIDED, _DRIVER[0], _PASSENGER[0]
        ways = {(driver, y): (passenger, x), (passenger, x): (driver, y)}
        asked = delivery.document["data"]
        way = ways.get((asked["caller"], asked["dialled"]))
        if way is None:
            return 200, {"action": "refuse", "reason": "unknown_number"}
        return 200, {"action": "connect", "callee": way[0], "display": way[1]}

    async def play(self) -> None:
        """Three calls of scheme 1, two of scheme 2."""
        await self._play_scheme_1()
        await self._play_scheme_2()

    async def _play_scheme_2(self) -> None:
        (x, y), driver, passenger = _DECIDED, _DRIVER[0], _PASSENGER[0]
        _say("\nScheme 2: the ride-hailing back end decides each call itself (方案二: 逐呼询问打车平台)")
        _say(f"   driver A 司机 {masked(driver)} has X {x}, passenger B 乘客 {masked(passenger)} has Y {y}")
        _say("   nothing is reserved; on each call the platform POSTs caller and dialled number: /routing")
        await self._call(
            "Driver calls passenger, scheme 2 司机呼叫乘客（方案二）", self.mobile.phones[driver], y,
            self.mobile.phones[passenger], x, asked=True,
        )  # fmt: skip
        await self._call(
            "Passenger calls back, scheme 2 乘客回拨（方案二）", self.city.phones[passenger], x,
            self.city.phones[driver], y, asked=True,
        )  # fmt: skip

    async def _play_scheme_1(self) -> None:
        binding = await self.customer.reserve(
            _DRIVER[0], _PASSENGER[0], self.x_pool, self.y_pool, expires_in_s=3600, order_ref="order-20261"
        )
        x, y = str(binding["x"]), str(binding["y"])
        _say("The ride-hailing back end reserves a call (打车平台预约呼叫):  POST /v1/bindings")
        _say(f"   driver A 司机 {masked(_DRIVER[0])} has X {x}")
        _say(f"   passenger B 乘客 {masked(_PASSENGER[0])} has Y {y}")
        _say(f"   answer: A dials {binding['dial']}")
        await self._settled()
        driver, passenger = _DRIVER[0], _PASSENGER[0]
        await self._call(
            "Driver calls passenger 司机呼叫乘客", self.mobile.phones[driver], y,
            self.mobile.phones[passenger], x,
        )  # fmt: skip
        await self._call(
            "Passenger calls back 乘客回拨", self.city.phones[passenger], x, self.city.phones[driver], y
        )
        await self._call(
            "Driver calls back 司机回拨", self.mobile.phones[driver], y, self.mobile.phones[passenger], x
        )

    async def _settled(self) -> None:
        """A trunk is in force within a second; `/readyz` does not wait for that."""
        await asyncio.sleep(1.2)

    def _check(self, right: bool, what: str) -> str:
        if not right:
            self.faults.append(f"call {self._played}: {what}")
        return "yes" if right else "NO"

    async def _call(
        self, title: str, caller: Phone, dialled: str, callee: Phone, shown: str, *, asked: bool = False
    ) -> None:
        self._played += 1
        _say(f"\n{self._played}. {title}")
        _say(f"   {masked(caller.number)} dials {dialled}")
        call = await caller.call(dialled)
        ringing = await callee.next_call()
        display = str(ringing.display)
        right = self._check(display == shown, f"the display showed {display} and not {shown}")
        _say(
            f"   {masked(callee.number)} rings and its display shows {display}"
            + ("" if right == "yes" else "  WRONG")
        )
        await call.wait_answered()
        await asyncio.sleep(_TALK_S)
        hears = self._check(call.heard(callee.tone_hz), "the caller does not hear the callee")
        heard = self._check(ringing.heard(caller.tone_hz), "the callee does not hear the caller")
        both = f"the caller's {caller.tone_hz} Hz heard: {heard}"
        both += f", the callee's {callee.tone_hz} Hz heard: {hears}"
        _say(f"   answered; {both}")
        await call.hang_up()
        await ringing.wait_ended()
        cdr = await self._cdr()
        if asked:
            self._show_decision(cdr)
        await self._show_events(cdr["call_id"], (_ASKED, *EVENTS) if asked else EVENTS)
        self._show_cdr(cdr)
        await self._show_recording(cdr, caller.tone_hz, callee.tone_hz)

    async def _cdr(self) -> dict[str, Any]:
        for _ in range(50):
            listed = (await self.customer.request("GET", "/v1/cdrs"))["items"]
            if len(listed) >= self._played:
                return dict(max(listed, key=lambda cdr: cdr["received_at"]))
            await asyncio.sleep(0.1)
        raise StageError(f"call {self._played} has no CDR")

    def _show_decision(self, cdr: dict[str, Any]) -> None:
        routing = cdr["routing"] or {}
        right = (routing.get("decided_by"), routing.get("verdict")) == ("customer", "answered")
        self._check(right, f"the customer did not decide: {routing}")
        _say(f"   the customer answers (询问应答): {routing.get('action')} after {routing.get('took_ms')} ms")

    async def _show_events(self, call_id: str, kinds: Sequence[str]) -> None:
        told = []
        for kind in kinds:
            try:
                delivery = await self.endpoint.wait_for(kind, call_id, timeout=10)
            except TimeoutError:
                self._check(False, f"the customer's endpoint never got {kind}")
                continue
            happened = datetime.fromisoformat(delivery.document["timestamp"]).timestamp()
            told.append(f"{kind} +{max(delivery.arrived_us / 1e3 - happened * 1e3, 0):.0f} ms")
        _say("   events at the customer, signed (事件通知): " + ", ".join(told))
        got = [d.kind for d in self.endpoint.accepted if d.call_id == call_id]
        self._check(got == list(kinds), f"the events came in another order: {got}")

    def _show_cdr(self, cdr: dict[str, Any]) -> None:
        ends = f"ended by {cdr['ended_by']} ({cdr['reason']}, Q.850 {cdr['q850_cause']})"
        _say(f"   CDR 话单 {cdr['call_id']}: rang {cdr['ring_ms']} ms, talked {cdr['talk_ms']} ms, {ends}")
        self._check(cdr["reason"] == "caller_hung_up", f"the CDR says {cdr['reason']}")

    async def _show_recording(self, cdr: dict[str, Any], left_hz: int, right_hz: int) -> None:
        info = await self.customer.request("GET", f"/v1/recordings/{cdr['call_id']}")
        if info["url"] is None:
            self._check(False, "there is no recording")
            return
        # In the store it is encrypted: what can be listened to is a copy.
        copy = Path(self.stage.settings.runtime_folder) / f"{cdr['call_id']}.{info['format']}"
        copy.write_bytes(await self.customer.request("GET", info["url"]))
        left, right = sides_of(copy)
        _say(f"   recording 录音 {_short(copy)} (a copy; encrypted in the store 副本，库中加密)")
        _say(f"      {info['duration_ms'] / 1000:.1f} s; left, the caller: {left}")
        _say(f"            right, the callee: {right}")
        self._check(left.hz is not None and abs(left.hz - left_hz) < 10, "the left channel is not the caller")
        self._check(
            right.hz is not None and abs(right.hz - right_hz) < 10, "the right channel is not the callee"
        )

    async def keep(self) -> None:
        """Say how to try it by hand, and wait for Ctrl-C."""
        sip = ":".join(map(str, self.stage.sip))
        number, name, password = _SOFTPHONE
        wanted = f'{{"a":"{number}","b":"{_PASSENGER[0]}","x_pool":"{self.x_pool}","y_pool":"{self.y_pool}"}}'
        _say(f"""
Everything goes on running; Ctrl-C ends it.
   API page            {self.stage.url}/docs
   Reserve a call      curl -s {self.stage.url}/v1/bindings -H 'Authorization: Bearer {self.customer.key}' \\
                         -H 'Content-Type: application/json' \\
                         -d '{wanted}'
   A softphone as A    server {sip} (UDP or TCP), no registration, caller {number},
                       user {name}, password {password}; dial the number in the answer's "dial"
   CDRs                curl -s {self.stage.url}/v1/cdrs -H 'Authorization: Bearer {self.customer.key}'
   Logs                {_short(Path(self.stage.settings.runtime_folder) / "logs")}""")
        stop = asyncio.Event()
        for number_of_signal in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number_of_signal, stop.set)
        await stop.wait()


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _is_running() -> bool:
    """Whether the supervisor of another demo holds this folder."""
    try:
        with (FOLDER / "run" / "supervisor.pid").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


async def _perform(keep: bool) -> int:
    if _is_running():
        raise StageError(f"another demo is running in {FOLDER}: stop it first")
    shutil.rmtree(FOLDER, ignore_errors=True)
    began = time.monotonic()
    _say("Starting the platform and two simulated carriers on loopback (启动平台与模拟运营商) …")
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(Stage(FOLDER.resolve()))
        endpoint = await stack.enter_async_context(CustomerEndpoint("127.0.0.4", secret=_SECRET))
        mobile = await stack.enter_async_context(Carrier("127.0.0.2", edge=stage.sip))
        city = await stack.enter_async_context(Carrier("127.0.0.3", edge=stage.sip))
        demo = Demo(stage, mobile, city, endpoint)
        await demo.furnish()
        _say(f"Ready after {time.monotonic() - began:.1f} s.\n")
        await _tell_faults(demo.play, demo.faults)
        demo.faults += [
            f"a phone complains: {type(error).__name__}: {error}" for error in (*mobile.errors, *city.errors)
        ]
        _say()
        for fault in demo.faults:
            _say(f"FAILED  {fault}")
        if not demo.faults:
            seconds = time.monotonic() - began
            _say("PASSED  5 masked calls: nobody saw a real number, everybody heard the other.")
            _say(f"演示通过: 五通隐号通话全部成功 ({seconds:.0f} s)")
        if keep:
            await demo.keep()
    return 1 if demo.faults else 0


async def _tell_faults(play: Callable[[], Awaitable[None]], faults: list[str]) -> None:
    try:
        await play()
    except Exception as error:  # noqa: BLE001 – whatever goes wrong, the verdict says so
        faults.append(f"{type(error).__name__}: {error}")


def run(*, keep: bool) -> int:
    """Play the demo; the exit status: 0 where everything was as it should be."""
    try:
        return asyncio.run(_perform(keep))
    except StageError as error:
        _say(f"FAILED  {error}")
        return 1
