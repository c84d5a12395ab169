"""At least ten calls at once in different moments of their lives, and what is told of them afterwards."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from tests.postgresql import Cluster
from tests.recordings.audio import listen
from xiaohao.runtime import status
from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.customer import CustomerEndpoint, Delivery
from xiaohao.simulator.incoming import IncomingCall
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.stage import Stage, StageError

from .conftest import _SECRET, Pair, Theatre

#: what these platforms make of recordings; the others make WAV files
FORMATS = {"sqlite": "mp3", "postgresql": "opus"}
NAMES = {"kamailio", "rtpengine", "switch", "worker", "web"}
_ANSWERS = Behaviour()
_RINGS = Behaviour(never_answer=True)
_IS_SLOW = Behaviour(ring_after_s=2.5, answer_after_s=3.0)


@asynccontextmanager
async def theatre_in(folder: Path, **changes: Any) -> AsyncIterator[Theatre]:
    """A platform that may be broken, with everybody around it.

    Retries of deliveries come soon, and who is refused is so at once, without hearing why.
    """
    usual = {"notifications": {"retry_s": [1], "timeout_s": 2.0}, "announcements": {"on": False}}
    stage = Stage(folder, **(usual | changes))
    async with (
        stage,
        CustomerEndpoint("127.0.0.4", secret=_SECRET) as endpoint,
        Carrier("127.0.0.2", edge=stage.sip) as mobile,
        Carrier("127.0.0.3", edge=stage.sip) as city,
    ):
        theatre = Theatre(stage, mobile, city, endpoint)
        await theatre.furnish()
        yield theatre
        theatre.find_numbers_at_rest()


class Houses:
    """A platform on each kind of database, started when a test first wants it, for all tests of a module."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._open: dict[str, Theatre] = {}
        self.cluster: Cluster

    @classmethod
    @asynccontextmanager
    async def in_folder(cls, folder: Path) -> AsyncIterator["Houses"]:
        async with AsyncExitStack() as stack:
            yield cls(folder, stack)

    async def on(self, database: str) -> Theatre:
        """The platform on "sqlite" or "postgresql"."""
        if database not in self._open:
            changes: dict[str, Any] = {"recording": {"format": FORMATS[database]}}
            if database == "postgresql":
                changes["database"] = {"url": self._start_postgresql()}
            theatre = theatre_in(self._folder / database, **changes)
            self._open[database] = await self._stack.enter_async_context(theatre)
        return self._open[database]

    def _start_postgresql(self) -> str:
        """A server of the module's own, because its tests stop it, with commits that outlive that."""
        self.cluster = self._stack.enter_context(Cluster.started())
        self.cluster.create("xiaohao")
        with psycopg.connect(self.cluster.url("xiaohao"), autocommit=True) as connection:
            connection.execute("ALTER DATABASE xiaohao SET synchronous_commit = on")
        return self.cluster.url("xiaohao")


# Processes


@dataclass(frozen=True)
class Killed:
    """Which process ids are no more, since which moment."""

    pids: dict[str, int]
    #: seconds since the epoch
    at: float


def kill(stage: Stage, *names: str) -> Killed:
    """`kill -9` these processes at once."""
    killed = Killed({name: stage.pid(name) for name in names}, time.time())
    for pid in killed.pids.values():
        os.kill(pid, signal.SIGKILL)
    return killed


async def until(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.05)


async def until_another(stage: Stage, killed: Killed) -> None:
    """Wait until each of the killed processes has a successor, ready or not."""

    def is_another(name: str, pid: int) -> bool:
        try:
            return stage.pid(name) != pid
        except FileNotFoundError:
            return False

    for name, pid in killed.pids.items():
        await until(partial(is_another, name, pid), f"another {name}")


async def until_ready(stage: Stage, killed: Killed) -> None:
    """Wait until the killed processes have successors and everything works; says how long that took."""
    await until_another(stage, killed)
    deadline = time.monotonic() + 60
    while {line.name for line in await status.look(stage.settings) if line.ready} != NAMES:
        assert time.monotonic() < deadline, "the platform is not ready again"
        await asyncio.sleep(0.1)
    print(f"{', '.join(killed.pids)}: ready within {time.time() - killed.at:.1f} s of the kill")


# Calls


@dataclass
class Conversation:
    """One call with both its ends. `other` is there once the callee's phone knows of it."""

    pair: Pair
    call: OutgoingCall
    other: IncomingCall | None = None

    @property
    def binding_id(self) -> str:
        return str(self.pair.binding["id"])

    async def heard(self) -> bool:
        """Whether both hear the other from now on."""
        assert self.other is not None
        await asyncio.sleep(0.5)
        return await self.call.wait_heard(self.pair.passenger.tone_hz) and await self.other.wait_heard(
            self.pair.driver.tone_hz
        )


@dataclass
class Crowd:
    """Calls by how far they have come."""

    talking: list[Conversation]
    ringing: list[Conversation]
    #: INVITE at the callee's network, nothing but 100 so far
    starting: list[Conversation]

    @property
    def everyone(self) -> list[Conversation]:
        return [*self.talking, *self.ringing, *self.starting]

    async def all_heard(self, of: list[Conversation] | None = None) -> bool:
        return all(await asyncio.gather(*(one.heard() for one in of or self.talking)))


async def dial(theatre: Theatre, behaviour: Behaviour = _ANSWERS, **terms: Any) -> Conversation:
    """A new pair, and the driver has dialled."""
    pair = await theatre.pair(behaviour, **terms)
    return Conversation(pair, await pair.driver.call(pair.y))


async def connect(theatre: Theatre, behaviour: Behaviour = _ANSWERS, **terms: Any) -> Conversation:
    """The same, and the call has come as far as the callee's behaviour lets it come at once."""
    one = await dial(theatre, behaviour, **terms)
    one.other = await one.pair.passenger.next_call(timeout=30)
    if behaviour is _ANSWERS:
        await one.call.wait_answered(timeout=30)
    elif behaviour is _RINGS:
        await one.call.wait_ringing(timeout=30)
    return one


async def gather(theatre: Theatre, talking: int = 6, ringing: int = 3, starting: int = 3) -> Crowd:
    """Set up a crowd; those that are starting come last and stay so for two seconds."""
    talks = await asyncio.gather(*(connect(theatre) for _ in range(talking)))
    rings = await asyncio.gather(*(connect(theatre, _RINGS) for _ in range(ringing)))
    starts = await asyncio.gather(*(connect(theatre, _IS_SLOW) for _ in range(starting)))
    return Crowd(talks, rings, starts)


async def until_stored(theatre: Theatre, crowd: Crowd) -> None:
    """Wait until the database has these calls as far as they have come: it is some milliseconds behind."""
    wanted = {one.binding_id: "answered" for one in crowd.talking}
    wanted |= {one.binding_id: "ringing" for one in crowd.ringing}
    wanted |= {one.binding_id: "received" for one in crowd.starting}
    deadline = time.monotonic() + 60
    while True:
        page = await theatre.customer.request("GET", "/v1/calls?limit=500")
        if wanted.items() <= {call["binding_id"]: call["state"] for call in page["items"]}.items():
            return
        assert time.monotonic() < deadline, "the crowd's calls are not in the database"
        await asyncio.sleep(0.05)


async def dial_several(theatre: Theatre, count: int = 3) -> list[Conversation]:
    """New pairs whose drivers dial at the same time."""
    return await asyncio.gather(*(dial(theatre) for _ in range(count)))


async def check_new_calls_work(theatre: Theatre) -> None:
    """A new call comes through and both hear each other; a reservation that has to be sent again, is."""
    for _ in range(20):
        try:
            one = await connect(theatre)
            break
        except StageError as error:
            assert "'database_unavailable'" in str(error), error
            await asyncio.sleep(0.5)
    else:
        raise AssertionError("nothing can be reserved")
    assert await one.heard()
    await one.call.hang_up()


async def hang_up_all(conversations: list[Conversation]) -> None:
    """End what still lives from the caller's side; where nobody answers, the phone just forgets the call."""

    async def end(one: Conversation) -> None:
        if one.call.state == "ended":
            return
        await (one.call.hang_up() if one.call.state == "answered" else one.call.cancel())

    await asyncio.gather(*(end(one) for one in conversations))


# What is told afterwards


@dataclass
class Ledger:
    """Every CDR of the customer by its binding, and everything that the customer's endpoint was told."""

    cdrs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    told: dict[str, list[Delivery]] = field(default_factory=dict)

    def one(self, conversation: Conversation) -> dict[str, Any]:
        """The one CDR of a conversation."""
        found = self.cdrs.get(conversation.binding_id, [])
        assert len(found) == 1, f"{len(found)} CDRs instead of one"
        return found[0]

    def reasons(self, conversations: list[Conversation]) -> set[tuple[str, str]]:
        """Why and by whom these calls were ended."""
        return {(self.one(each)["reason"], self.one(each)["ended_by"]) for each in conversations}

    def check_events(self) -> None:
        """Of each call the customer was told everything that its CDR shows, in order, each event once."""
        for cdr in (cdr for found in self.cdrs.values() for cdr in found):
            kinds = [
                "call.received",
                *(["call.ringing"] if cdr["ringing_at"] else []),
                *(["call.answered"] if cdr["answered_at"] else []),
                "call.ended",
                "cdr.created",
            ]
            deliveries = self.told.get(cdr["call_id"], [])
            told = [each.kind for each in deliveries if each.kind != "recording.ready"]
            assert told == kinds, f"{cdr['reason']}: {told} instead of {kinds}"
            document = next(each.document for each in deliveries if each.kind == "cdr.created")
            assert document["data"]["cdr"] == {k: v for k, v in cdr.items() if k != "recording_state"}


async def ledger(theatre: Theatre, conversations: list[Conversation], within_s: float = 60) -> Ledger:
    """The ledger once every conversation has its CDR and the customer was told of it."""
    wanted = {one.binding_id for one in conversations}
    deadline = time.monotonic() + within_s
    while True:
        found = await _ledger(theatre)
        created = {d.call_id for d in theatre.endpoint.accepted if d.kind == "cdr.created"}
        missing = wanted - set(found.cdrs)
        untold = [c for cdrs in found.cdrs.values() for c in cdrs if c["call_id"] not in created]
        if not missing and not untold:
            break
        assert time.monotonic() < deadline, f"{len(missing)} calls without CDR, {len(untold)} CDRs untold"
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.4)  # whatever would come twice has come twice by now
    return await _ledger(theatre)


async def check_recordings(theatre: Theatre, crowd: Crowd, within_s: float = 60) -> None:
    """Each call of the crowd has one recording, told once; of those who talked both voices are in it.

    What the configuration names is what the customer gets.
    """
    format_ = theatre.stage.settings.recording.format
    told = await ledger(theatre, crowd.everyone)
    call_ids = {told.one(each)["call_id"] for each in crowd.everyone}

    def ready() -> list[str | None]:
        kinds = {d.message_id: d for d in theatre.endpoint.accepted if d.kind == "recording.ready"}
        return [delivery.call_id for delivery in kinds.values() if delivery.call_id in call_ids]

    await until(lambda: len(ready()) >= len(call_ids), "a recording of every call", within_s)
    await asyncio.sleep(0.5)
    assert sorted(map(str, ready())) == sorted(call_ids)
    for one in crowd.talking:
        call_id = told.one(one)["call_id"]
        audio = await theatre.audio(call_id)
        assert audio.suffix == f".{format_}"
        heard = listen(audio)
        for channel, phone in (("left", one.pair.driver), ("right", one.pair.passenger)):
            seconds = sum(end - begin for begin, end in heard.spans(channel, phone.tone_hz))
            assert seconds > 0.3, f"{seconds:.1f} s of a voice that talked are on the {channel}"


async def _ledger(theatre: Theatre) -> Ledger:
    found = Ledger()
    page = await theatre.customer.request("GET", "/v1/cdrs?limit=500")
    for cdr in page["items"]:
        found.cdrs.setdefault(cdr["binding_id"], []).append(cdr)
    seen: set[str] = set()
    for delivery in theatre.endpoint.accepted:
        if delivery.message_id not in seen and delivery.call_id:
            seen.add(delivery.message_id)
            found.told.setdefault(delivery.call_id, []).append(delivery)
    return found


def moment(text: str) -> float:
    """An RFC 3339 moment in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
