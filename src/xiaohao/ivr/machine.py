"""A dialogue with one caller: walks a graph. Pure: it is told what happens, and says what is to be done."""

from typing import assert_never

from xiaohao.ivr.model import (
    KEYS,
    TYPED_AHEAD,
    Action,
    Branch,
    Collect,
    Connect,
    ConnectTo,
    Digit,
    Event,
    Found,
    Graph,
    HangUp,
    Look,
    Looked,
    LookUp,
    Play,
    Played,
    PlayPrompt,
    Refuse,
    Started,
    StopPlaying,
    Timeout,
    WaitForDigits,
)


class Machine:
    """One dialogue of a graph that `rules.check` has passed.

    It comes to an end whatever the caller does: without a key every action is followed by the next one, no
    circle of nodes goes without a question, and each question is asked a limited number of times.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        #: the node that it is at
        self.at = graph.start
        #: the action under way, in the order of their making
        self._step = 0
        self._ahead: list[str] = []
        #: the digits come from the number dialled: nothing more is waited for behind them
        self._complete = False
        self._digits = ""
        self._tries: dict[str, int] = {}
        self._doing: type[PlayPrompt | WaitForDigits | LookUp] | None = None
        self.is_over = False

    def feed(self, event: Event) -> list[Action]:
        """What is to be done now; nothing for what comes too late, or after the end."""
        if self.is_over:
            return []
        actions: list[Action] = []
        match event:
            case Started(digits):
                if self._step == 0:
                    self._ahead = [key for key in digits if key in KEYS][:TYPED_AHEAD]
                    self._complete = bool(self._ahead)
                    self._enter(self._graph.start, actions)
            case Digit(key):
                if key in KEYS:
                    self._key(key, actions)
            case Played(step):
                if self._doing is PlayPrompt and step in (None, self._step):
                    self._played(actions)
            case Timeout(step):
                if self._doing is WaitForDigits and step in (None, self._step):
                    self._close(actions)
            case Looked(result, step):
                if self._doing is LookUp and step in (None, self._step):
                    self._looked(result, actions)
            case _ as never:
                assert_never(never)
        return actions

    def _key(self, key: str, actions: list[Action]) -> None:
        if len(self._ahead) < TYPED_AHEAD:
            self._ahead.append(key)
        if self._step == 0:
            return
        node = self._graph.nodes[self.at]
        if self._doing is PlayPrompt and isinstance(node, Play | Collect) and node.barge_in:
            actions.append(StopPlaying())
            self._played(actions)
        elif self._doing is WaitForDigits:
            self._take(actions)

    def _played(self, actions: list[Action]) -> None:
        node = self._graph.nodes[self.at]
        if isinstance(node, Play):
            self._enter(node.next, actions)
        else:
            self._take(actions)

    def _looked(self, result: Found, actions: list[Action]) -> None:
        node = self._graph.nodes[self.at]
        assert isinstance(node, Look)  # noqa: S101 – only there something is looked up
        ways = {Found.FOUND: node.found, Found.NOT_FOUND: node.not_found, Found.TROUBLE: node.trouble}
        self._enter(ways[result], actions)

    def _enter(self, name: str, actions: list[Action]) -> None:
        """Walk on from a node to where something is to be waited for, or to the end."""
        while True:
            self.at, self._doing = name, None
            node = self._graph.nodes[name]
            match node:
                case Play(prompt=prompt):
                    if node.barge_in and self._ahead:
                        name = node.next  # the caller knows what would be said
                        continue
                    return self._begin(PlayPrompt(prompt, self._next_step()), actions)
                case Collect():
                    if self._tries.get(name, 0) >= node.tries:
                        name = node.exhausted
                        continue
                    return self._ask(name, node, actions)
                case Branch(cases=cases, otherwise=otherwise):
                    name = cases.get(self._digits, otherwise)
                case Look(kind=kind):
                    return self._begin(LookUp(kind, self._digits, self._next_step()), actions)
                case Connect(to):
                    return self._end(ConnectTo(to), actions)
                case HangUp(reason):
                    return self._end(Refuse(reason), actions)
                case _ as never:
                    assert_never(never)

    def _ask(self, name: str, node: Collect, actions: list[Action]) -> None:
        self._tries[name] = self._tries.get(name, 0) + 1
        self._digits = ""
        if node.prompt is not None and not (node.barge_in and self._ahead):
            self._begin(PlayPrompt(node.prompt, self._next_step()), actions)
        else:
            self._take(actions)

    def _take(self, actions: list[Action]) -> None:
        """Take the keys that are there for the question of the moment, and wait for more if need be."""
        node = self._graph.nodes[self.at]
        assert isinstance(node, Collect)  # noqa: S101 – only there keys are taken
        while self._ahead:
            key = self._ahead.pop(0)
            if key in node.terminators:
                return self._close(actions)
            self._digits += key
            if len(self._digits) == node.most:
                # a terminator that comes at once belongs to these digits and not to the next question
                if self._ahead and self._ahead[0] in node.terminators:
                    self._ahead.pop(0)
                return self._close(actions)
        if self._complete and self._digits:
            return self._close(actions)
        wait_ms = node.between_ms if self._digits else node.first_ms
        more = node.most - len(self._digits)
        return self._begin(WaitForDigits(more, wait_ms, node.terminators, self._next_step()), actions)

    def _close(self, actions: list[Action]) -> None:
        node = self._graph.nodes[self.at]
        assert isinstance(node, Collect)  # noqa: S101 – only there keys are taken
        self._complete = False
        self._enter(node.digits if len(self._digits) >= node.least else node.nothing, actions)

    def _begin(self, action: PlayPrompt | WaitForDigits | LookUp, actions: list[Action]) -> None:
        self._doing = type(action)
        actions.append(action)

    def _end(self, action: ConnectTo | Refuse, actions: list[Action]) -> None:
        self.is_over, self._doing = True, None
        actions.append(action)

    def _next_step(self) -> int:
        self._step += 1
        return self._step
