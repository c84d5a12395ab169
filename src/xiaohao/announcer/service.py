"""Who hears what: calls that are refused, that are being connected, or whose callee is not reached.

The edge sends such a caller here as it would to a trunk. The announcer takes the call in early media, which
costs the caller nothing, has rtpengine play, and refuses: the edge ends the call as was decided, or goes on.
Where the caller's trunk wants that it answers instead, calls the callee itself, and has the edge hang up.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
from msgspec.structs import replace

from xiaohao.announcer.dialogue import Dialogue
from xiaohao.announcer.hold import Hold
from xiaohao.announcer.keys import Keys
from xiaohao.announcer.media import MediaError, Player
from xiaohao.announcer.model import Treatment
from xiaohao.announcer.onward import Onward, Said
from xiaohao.announcer.search import Search
from xiaohao.announcer.sip import Door, Visit
from xiaohao.announcer.speech import CLOSING_S, Chooser, Speech
from xiaohao.announcer.strangers import Strangers
from xiaohao.announcer.talk import Talk
from xiaohao.announcer.tones import Tones
from xiaohao.calls.model import Call, Mark, Party, Reason
from xiaohao.clock import now_us
from xiaohao.edge.wire import End, Leg
from xiaohao.ivr.builtin import AXE, BUILT_IN, LAST_DIGITS, ORDER_CODE
from xiaohao.ivr.model import ConnectTo, Graph, Occasion, Refuse
from xiaohao.ivr.service import Dialogues
from xiaohao.prompts.model import Prompt
from xiaohao.settings import Settings, host_port
from xiaohao.switch.causes import Refusal, not_answered
from xiaohao.switch.steps import Passage, Tools
from xiaohao.trunks.model import Answers

_log = structlog.get_logger(__name__)

#: from the sign that there is early media until a phone has opened its ears
_OPENING_S: Final = 0.2
#: so long the edge takes to call the callee
_GOING_ON_S: Final = 0.05
_RINGING: Final = 180


_OCCASIONS: Final = (Reason.UNKNOWN_CALLER, Reason.EXTENSION_NEEDED)
#: callers whom no binding knows are asked so
_TREATMENTS: Final = {Treatment.LAST_DIGITS: LAST_DIGITS, Treatment.ORDER_CODE: ORDER_CODE}
#: without this nobody would know what to dial
_REQUESTS: Final = {AXE: "ask_extension", LAST_DIGITS: "ask_last_digits", ORDER_CODE: "ask_order_code"}


class Board(Protocol):
    """`switch.switchboard.Switchboard`."""

    calls: dict[str, Call]

    async def go_on(self, passage: Passage) -> str:
        """What the edge is to do with a caller who has said whom they mean."""

    def turn_away(self, passage: Passage, reason: Reason) -> str:
        """What the edge is to do with one who has not."""

    async def go_on_waiting(self, passage: Passage) -> str | None:
        """What the edge is to do with one who waits until their customer decides; None: nothing yet."""

    def answers(self, call: Call) -> Answers:
        """Who of the callers of this call's trunk is answered by us."""

    def let_go(self, call_id: str, refusal: str = "") -> None:
        """Hang up on a caller whom we have answered: for what `turn_away` says, or was known before."""


class Announcer:
    """Speaks to callers."""

    def __init__(
        self,
        settings: Settings,
        prompts: Chooser,
        player: Player,
        board: Board,
        strangers: Strangers,
        dialogues: Dialogues,
    ) -> None:
        own = settings.announcements
        self._speech = Speech(prompts, player, on=own.on)
        self.talk = Talk(self._speech, own.warn_s, Tones(Path(settings.runtime_folder) / "tones"))
        self._board, self._keys = board, Keys(own.keys)
        self._strangers, self._dialogues = strangers, dialogues
        self._address, self._edge = own.listen, own.edge
        self._door = Door(host_port(own.listen), host_port(own.edge), self._receive)
        #: callers who are refused; a call that went wrong is not among the live ones
        self._refused: dict[str, tuple[Call, Prompt, Reason]] = {}
        #: callers whom their customer lets wait
        self._waiting: dict[str, Passage] = {}
        #: callers who are asked whom they mean
        self._asked: dict[str, tuple[Search, Graph]] = {}
        #: callers whom we have answered and who have nobody else to talk with
        self._answered: dict[str, Visit] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen for the edge. Raises OSError."""
        await self._door.open()
        await self._keys.open()

    def close(self) -> None:
        """Stop listening; callers who listen are let go by the edge."""
        for task in self._tasks:
            task.cancel()
        self._door.close()
        self._keys.close()

    # What the switch asks, before a call goes on

    def refusal(self, passage: Passage, reason: Reason, how: Refusal, tools: Tools) -> Leg | None:
        """The way of a call that is refused: to be told why, or to be asked; None where neither is to be."""
        call, refused = passage.call, passage.refused
        end = End(how.sip_code, how.q850_cause, reason, Party.PLATFORM)
        if refused is not None and refused.waits and self._speech.on:
            self._waiting[call.id] = passage
            return self._leg("waiting", replace(end, waits=True))
        treatment = self._strangers.terms_of(call.customer_id, call.pool_id).treatment
        if reason is Reason.UNKNOWN_CALLER and treatment is Treatment.REFUSE:
            return None
        graph = self._dialogue(call, reason, treatment)
        if graph is not None and call.id not in self._asked:
            self._asked[call.id] = Search(passage, tools, self._strangers), graph
            return self._leg("asked", end)
        chosen = self._speech.prompt_of(call, reason, refused.prompt if refused else None)
        if chosen is None:
            return None
        self._refused[call.id] = call, chosen, reason
        return self._leg("refused", end)

    def _dialogue(self, call: Call, reason: Reason, treatment: Treatment) -> Graph | None:
        """Instead of being refused the caller is led through this graph: one chosen, or a built-in one."""
        if not self._speech.on or reason not in _OCCASIONS:
            return None
        occasion = Occasion(reason.value)
        graph = self._dialogues.chosen(call.customer_id, call.pool_id, call.dialled, occasion)
        if graph is None and treatment in _TREATMENTS:
            graph = BUILT_IN[_TREATMENTS[treatment]]
        request = next((_REQUESTS[name] for name in _REQUESTS if graph is BUILT_IN[name]), None)
        return None if request and self._speech.prompt(call, request) is None else graph

    def before(self, call: Call) -> list[Leg]:
        """The way by which a caller goes first who is to hear something before the callee answers."""
        return [self._leg("before")] if self.talk.before(call) or self.talk.manner(call).music else []

    def forget(self, call: Call) -> None:
        """The call has ended."""
        self._refused.pop(call.id, None)
        self._asked.pop(call.id, None)
        self._waiting.pop(call.id, None)
        if visit := self._answered.pop(call.id, None):
            visit.hung_up()
        self.talk.ended(call)

    def _leg(self, role: str, end: End | None = None) -> Leg:
        uri = f"sip:{role}@{self._address}"
        return Leg(0, uri, f"sip:{self._address}", "inside", f"{role}@{self._edge}", "", str(end or ""))

    # Callers who come

    def _receive(self, visit: Visit) -> None:
        if work := self._work(visit):
            task = asyncio.get_running_loop().create_task(self._serve(visit, work))
            visit.on_gone = lambda: _cancel(task)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: work.close())
        else:
            visit.end()

    def _work(self, visit: Visit) -> Coroutine[Any, Any, None] | None:
        """What is to be done with a caller."""
        if visit.role == "refused" and (known := self._refused.get(visit.call_id)):
            return self._tell(visit, known[0], [known[1]])
        if visit.role == "asked" and (asked := self._asked.get(visit.call_id)):
            return self._ask(visit, *asked)
        call = self._board.calls.get(visit.call_id)
        if call is None:
            return None
        if visit.role == "before":
            return self._go_before(visit, call)
        if visit.role == "waiting" and (waits := self._waiting.get(visit.call_id)):
            return self._keep(visit, waits)
        prompt = self._of_the_unreached(visit, call)
        return self._tell(visit, call, [prompt]) if prompt else None

    def _of_the_unreached(self, visit: Visit, call: Call) -> Prompt | None:
        """What is said of a callee who was not reached, where the edge says with which code and cause."""
        code, _, cause = visit.ended.partition(" ")
        if not (code.isdigit() and cause.isdigit()):
            return None
        reason, _ = not_answered(int(code), int(cause))
        return self._speech.prompt_of(call, reason)

    async def _serve(self, visit: Visit, work: Coroutine[Any, Any, None]) -> None:
        try:
            with self._told_of_trouble(visit.call_id):
                await work
            if visit.is_answered:
                self._board.let_go(visit.call_id)
        finally:
            visit.end()

    @contextlib.contextmanager
    def _told_of_trouble(self, call_id: str) -> Iterator[None]:
        try:
            yield
        except MediaError as error:
            _log.warning("not_announced", call_id=call_id, error=str(error))
        except Exception as error:  # noqa: BLE001 – a fault of ours must not keep a caller waiting
            _log.error("not_announced", call_id=call_id, error=type(error).__name__)

    async def _take(self, visit: Visit, call: Call, at_least: Answers) -> bool:
        """Whether the caller hears us now: answered, where their trunk wants that, or in early media."""
        wanted = list(Answers).index(self._board.answers(call))
        # a call that went wrong is nobody's yet: the edge must remember what to tell of it
        if wanted < list(Answers).index(at_least) or call.id not in self._board.calls:
            return visit.listen()
        self._answered[call.id] = visit
        heard = await visit.answer()
        if visit.is_answered:
            call.path.append(Mark("announcer_answers", now_us()))
            return heard
        self._answered.pop(call.id, None)
        return visit.listen()

    async def _tell(self, visit: Visit, call: Call, prompts: list[Prompt], *, at_end: bool = True) -> None:
        self._speech.over(call)
        if await self._take(visit, call, Answers.TOLD) if at_end else visit.listen():
            await asyncio.sleep(_OPENING_S)
            await self._speech.say_all(call, Party.CALLER, prompts)
            await asyncio.sleep(CLOSING_S)

    async def _go_before(self, visit: Visit, call: Call) -> None:
        """What the caller hears first; then the callee is called."""
        if prompts := self.talk.before(call):
            await self._tell(visit, call, prompts, at_end=False)
        else:
            visit.listen()
        await self._let_go(visit, call)

    async def _ask(self, visit: Visit, search: Search, graph: Graph) -> None:
        """Ask the caller whom they mean, and connect them."""
        passage = search.passage
        dialogue = Dialogue(self._speech, self._keys, passage.call, graph, search.look)
        visit.on_key = lambda key: self._keys.pressed(visit.call_id, key)
        if not visit.is_answered:
            if not await self._take(visit, passage.call, Answers.ASKED):
                return
            await asyncio.sleep(_OPENING_S)
        match await dialogue.run():
            case Refuse(reason):
                self._turn_away(visit, passage, Reason(reason))
            case ConnectTo(to):
                await dialogue.leave()
                if to is not None and not search.take(to):
                    self._turn_away(visit, passage, Reason.DISPLAY_NOT_ALLOWED)
                    return
                await self._go_on(visit, passage, await self._board.go_on(passage))

    async def _go_on(self, visit: Visit, passage: Passage, line: str) -> None:
        if visit.is_answered:
            await self._call_on(visit, passage, line)
        else:
            await self._let_go(visit, passage.call, _next(line))

    def _turn_away(self, visit: Visit, passage: Passage, reason: Reason) -> None:
        line = self._board.turn_away(passage, reason)
        if visit.is_answered:
            self._board.let_go(visit.call_id, line)
        else:
            visit.end(480, [_next(line)])

    async def _call_on(self, visit: Visit, passage: Passage, line: str) -> None:
        """Connect a caller whom we have answered; where that is not to be, tell them and hang up."""
        call = passage.call
        if line.startswith("R"):
            self._board.let_go(visit.call_id, line)
        elif refused := self._refused.get(call.id):
            await self._say_last(call, refused[1])
            self._turn_away(visit, passage, refused[2])
        elif asked := self._asked.get(call.id) if visit.role == "waiting" else None:
            await self._ask(visit, *asked)
        else:
            said = await self._until_answered(visit.call_on(line), call)
            if said.code < 300:
                self._answered.pop(call.id, None)
                visit.handed_over()
                return
            reason, _ = not_answered(said.code, said.q850_cause)
            if prompt := self._speech.prompt_of(call, reason):
                await self._say_last(call, prompt)

    async def _until_answered(self, onward: Onward, call: Call) -> Said:
        """The final word of the callee's side; until then the caller hears music, or how it rings."""
        await asyncio.sleep(_GOING_ON_S)
        with self._told_of_trouble(call.id):
            await self.talk.wait(call)
        while (said := await onward.said()).code < 200:
            with self._told_of_trouble(call.id):
                if said.has_media:
                    await self._speech.stop_music(call)
                elif said.code == _RINGING:
                    await self.talk.ring(call)
        return said

    async def _say_last(self, call: Call, prompt: Prompt) -> None:
        self._speech.over(call)
        await self._speech.say(call, Party.CALLER, prompt)
        await asyncio.sleep(CLOSING_S)

    async def _keep(self, visit: Visit, passage: Passage) -> None:
        """Let the caller wait until their customer says whom to call."""
        if await self._take(visit, passage.call, Answers.ASKED):
            await asyncio.sleep(_OPENING_S)
            line = await Hold(self._speech, visit, passage, self._board.go_on_waiting).run()
            await self._go_on(visit, passage, line)

    async def _let_go(self, visit: Visit, call: Call, *headers: str) -> None:
        """To the callee, with music until they answer where there is any."""
        visit.end(480, list(headers))
        await asyncio.sleep(_GOING_ON_S)
        if call.callee is not None:
            await self.talk.wait(call)


def _next(line: str) -> str:
    return f"X-Next: {line}"


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
