"""What there is afterwards, and whether it agrees: calls, CDRs, events, recordings."""

import asyncio
import hashlib
import random
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.calls.conftest import Theatre

from .load import Made

_RECORDINGS_HEARD = 40
#: what a busy machine adds to what a simulated phone sees
_TALK_S = 2.5


@dataclass
class Told:
    """What the customer's endpoint accepted, each event once, as it first came."""

    posts: int = 0
    forged: int = 0
    #: signed by a clock that is not the receiver's
    untimely: int = 0
    ids: set[str] = field(default_factory=set)
    #: by call: (kind, sequence) in the order of arrival
    of_call: dict[str, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    cdrs: dict[str, dict[str, Any]] = field(default_factory=dict)
    recordings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, theatre: Theatre) -> None:
        """Take over what came since the last time, so that a long run does not keep every body."""
        deliveries, theatre.endpoint.events = theatre.endpoint.events, []
        for one in deliveries:
            untimely = "timestamp" in one.verdict
            self.untimely += untimely
            self.forged += not one.verified and not untimely
            if not one.accepted:
                continue
            self.posts += 1
            if one.message_id in self.ids or one.call_id is None:
                continue
            self.ids.add(one.message_id)
            document = one.document
            self.of_call[one.call_id].append((one.kind, document["sequence"]))
            if one.kind == "cdr.created":
                self.cdrs[one.call_id] = document["data"]["cdr"]
            elif one.kind == "recording.ready":
                self.recordings[one.call_id] = document["data"]["recording"]


@dataclass
class Account:
    """The account of a run; `faults` is empty where everything agrees."""

    made: list[Made]
    turned_away: int
    cdrs: list[dict[str, Any]]
    cdrs_of_all: int
    told: Told
    heard: int = 0
    #: CDRs whose talk is longer or shorter than their caller's by more than `_TALK_S`
    talks_off: int = 0
    faults: list[str] = field(default_factory=list)

    def settle(self) -> None:
        """Compare everything with everything."""
        self._calls_and_cdrs()
        self._cdrs_and_events()
        self._recordings()
        if self.told.forged:
            self.faults.append(f"{self.told.forged} POSTs were not signed rightly")

    def _calls_and_cdrs(self) -> None:
        made, found = defaultdict(list), defaultdict(list)
        for one in self.made:
            made[one.binding_id].append(one)
        for cdr in self.cdrs:
            found[cdr["binding_id"]].append(cdr)
        twice = [call for call, count in Counter(c["call_id"] for c in self.cdrs).items() if count > 1]
        if twice:
            self.faults.append(f"{len(twice)} CDRs came twice")
        missing = sum(max(len(made[b]) - len(found[b]), 0) for b in made)
        surplus = sum(max(len(found[b]) - len(made[b]), 0) for b in found)
        if missing > self.turned_away:
            self.faults.append(f"{missing} calls have no CDR, {self.turned_away} were turned away")
        if surplus:
            self.faults.append(f"{surplus} CDRs are of no call")
        if self.cdrs_of_all != len(self.cdrs):
            self.faults.append(f"{self.cdrs_of_all - len(self.cdrs)} CDRs are nobody's")
        for binding_id, calls in made.items():
            if len(calls) == len(found[binding_id]):
                self._talks(binding_id, calls, found[binding_id])

    def _talks(self, binding_id: str, calls: list[Made], cdrs: list[dict[str, Any]]) -> None:
        """As many were answered, and they talked as long; the clocks that order them may have been set."""
        said = sorted(one.talked_s for one in calls if one.talked_s is not None)
        told = sorted(cdr["talk_ms"] / 1000 for cdr in cdrs if cdr["answered_at"] is not None)
        if len(said) != len(told):
            self.faults.append(f"{binding_id}: {len(said)} calls were answered, {len(told)} CDRs say so")
        else:
            self.talks_off += sum(abs(a - b) > _TALK_S for a, b in zip(said, told, strict=True))

    def _cdrs_and_events(self) -> None:
        told = self.told
        for cdr in self.cdrs:
            events = [kind for kind, _ in told.of_call.get(cdr["call_id"], []) if kind != "recording.ready"]
            kinds = [
                "call.received",
                *(["call.ringing"] if cdr["ringing_at"] else []),
                *(["call.answered"] if cdr["answered_at"] else []),
                *("call.ended", "cdr.created"),
            ]
            if events != kinds:
                self.faults.append(f"call {cdr['call_id']} ({cdr['reason']}): told {events}")
            elif told.cdrs[cdr["call_id"]] != {k: v for k, v in cdr.items() if k != "recording_state"}:
                self.faults.append(f"call {cdr['call_id']}: the CDR told is another")
        for call_id, events_of_call in told.of_call.items():
            sequence = [number for _, number in events_of_call]
            if sequence != sorted(set(sequence)):
                self.faults.append(f"call {call_id}: out of order: {events_of_call}")
        strangers = told.cdrs.keys() - {cdr["call_id"] for cdr in self.cdrs}
        if strangers:
            self.faults.append(f"{len(strangers)} CDRs were told that are not there")

    def _recordings(self) -> None:
        recorded = {cdr["call_id"] for cdr in self.cdrs if cdr["recording"]}
        ready = self.told.recordings.keys()
        for what, calls in (("missing", recorded - ready), ("of no call", ready - recorded)):
            if calls:
                self.faults.append(f"{len(calls)} recordings are {what}, e.g. {min(calls)}")

    def table(self) -> str:
        """For a person."""
        recorded = sum(1 for cdr in self.cdrs if cdr["recording"])
        rows = [
            ("calls made", len(self.made)),
            ("  of these answered", sum(one.talked_s is not None for one in self.made)),
            ("  turned away at the door (no CDR, decision 0050)", self.turned_away),
            ("CDRs", len(self.cdrs)),
            ("  with answer", sum(1 for cdr in self.cdrs if cdr["answered_at"])),
            ("  talk longer or shorter than its caller's", self.talks_off),
            ("  the operator sees", self.cdrs_of_all),
            ("cdr.created received, each once", len(self.told.cdrs)),
            ("events received, each once", len(self.told.ids)),
            ("  POSTs that carried them", self.told.posts),
            ("  POSTs refused as too old or of the future", self.told.untimely),
            ("CDRs with a recording", recorded),
            ("recording.ready received, each once", len(self.told.recordings)),
            ("  of these fetched, with the right SHA-256", self.heard),
            *((f"reason {reason}", n) for reason, n in self._reasons()),
            *((f"caller saw {code or 'nothing'}", n) for code, n in sorted(self._codes().items())),
        ]
        return "\n".join(f"  {name:<52} {count:>8}" for name, count in rows)

    def _reasons(self) -> list[tuple[str, int]]:
        return Counter(str(cdr["reason"]) for cdr in self.cdrs).most_common()

    def _codes(self) -> Counter[int]:
        return Counter(one.code for one in self.made)


def turned_away(theatre: Theatre) -> int:
    """Calls that the edge refused without a CDR, as the switches have logged it."""
    return sum(
        int(match[1])
        for line in theatre.stage.log("switch").splitlines()
        if "calls_turned_away" in line and (match := re.search(r'"?calls"?[=:] ?(\d+)', line))
    )


async def account(theatre: Theatre, made: list[Made], told: Told, seed: int, patience_s: float) -> Account:
    """Wait until everything has come, or nothing more has come for so long, and compare."""
    known, since = 0, time.monotonic()
    while True:
        cdrs = await _cdrs(theatre, theatre.customer.key)
        told.take(theatre)
        away = turned_away(theatre)
        recorded = {cdr["call_id"] for cdr in cdrs if cdr["recording"]}
        complete = (
            len(cdrs) + away >= len(made)
            and told.cdrs.keys() >= {cdr["call_id"] for cdr in cdrs}
            and told.recordings.keys() >= recorded
        )
        if len(told.ids) > known:
            known, since = len(told.ids), time.monotonic()
        if complete or time.monotonic() - since > patience_s:
            break
        await asyncio.sleep(1)
    await asyncio.sleep(2)  # whatever would come twice has come twice by now
    told.take(theatre)
    cdrs = await _cdrs(theatre, theatre.customer.key)
    everybody = await _cdrs(theatre, None)
    result = Account(made, away, cdrs, len(everybody), told)
    result.settle()
    await _hear(theatre, result, seed)
    return result


async def _cdrs(theatre: Theatre, key: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        path = f"/v1/cdrs?order=oldest&limit=500{after}"
        page = await theatre.stage.request("GET", path, key=key)
        found += page["items"]
        if len(page["items"]) < 500:
            return found
        after = f"&after={page['next']}"


async def _hear(theatre: Theatre, result: Account, seed: int) -> None:
    """Fetch some recordings and compare them with what the customer was told of them."""
    ready = sorted(result.told.recordings)
    dice = random.Random(f"{seed} ear")
    headers = {"Authorization": f"Bearer {theatre.customer.key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for call_id in dice.sample(ready, min(_RECORDINGS_HEARD, len(ready))):
            async with session.get(f"{theatre.stage.url}/v1/recordings/{call_id}/audio") as response:
                digest = hashlib.sha256(await response.read()).hexdigest()
            if response.status == 200 and digest == result.told.recordings[call_id]["sha256"]:
                result.heard += 1
            else:
                result.faults.append(
                    f"call {call_id}: its recording is another, or not there ({response.status})"
                )
