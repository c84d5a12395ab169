"""A dialogue ends whatever happens, asks as often as it may, and loses no digit."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ivr.graphs import MENU, walkable_graph
from xiaohao.ivr import wire
from xiaohao.ivr.builtin import BUILT_IN
from xiaohao.ivr.machine import Machine
from xiaohao.ivr.model import (
    Action,
    Collect,
    ConnectTo,
    Digit,
    Event,
    Found,
    Graph,
    Kind,
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

AXE = BUILT_IN["axe"]
DIGITS = st.sampled_from("0123456789*#")
STORIES = st.lists(
    st.one_of(
        st.builds(Digit, DIGITS),
        st.builds(Played),
        st.builds(Timeout),
        st.builds(Looked, st.sampled_from(Found)),
        # what comes too late, or never was asked for
        st.builds(Played, st.integers(0, 3)),
        st.builds(Timeout, st.integers(0, 3)),
    ),
    max_size=60,
)


def menu() -> Graph:
    found = wire.read(MENU)
    assert isinstance(found, Graph)
    return found


GRAPHS = [*BUILT_IN.values(), menu()]


def silent_answer(action: Action, result: Found = Found.NOT_FOUND) -> Event | None:
    """What happens by itself after an action, when the caller presses nothing."""
    if isinstance(action, PlayPrompt):
        return Played(action.step)
    if isinstance(action, WaitForDigits):
        return Timeout(action.step)
    return Looked(result, action.step) if isinstance(action, LookUp) else None


def told(machine: Machine, *events: Event) -> list[Action]:
    return [action for event in events for action in machine.feed(event)]


def ended(machine: Machine, actions: list[Action]) -> int:
    """Answer what is under way until the end; how many answers that took."""
    for answers in itertools.count():
        if machine.is_over:
            return answers
        assert answers < 200, "it goes on and on"
        answer = silent_answer(actions[-1])
        assert answer is not None
        actions = machine.feed(answer)
        assert actions, "nothing would ever happen again"
    raise AssertionError


def under_way(actions: list[Action], before: list[Action]) -> list[Action]:
    """What the dialogue waits for: the last action with a step."""
    waiting = [one for one in actions if not isinstance(one, StopPlaying)]
    return waiting or before


def follow(graph: Graph, story: list[Event]) -> tuple[Machine, list[Action], list[Action]]:
    machine = Machine(graph)
    every = machine.feed(Started())
    last = under_way(every, [])
    for event in story:
        said = machine.feed(event)
        every = every + said
        last = under_way(said, last)
    return machine, last, every


@given(st.sampled_from(GRAPHS), STORIES)
def test_the_dialogues_that_are_built_in_always_end(graph: Graph, story: list[Event]) -> None:
    machine, last, every = follow(graph, story)
    ended(machine, last)
    for event in (Digit("1"), Played(), Timeout(), Looked(Found.FOUND), Started("1")):
        assert machine.feed(event) == []
    assert sum(isinstance(one, ConnectTo | Refuse) for one in every) <= 1


@given(walkable_graph(), STORIES)
@settings(max_examples=150, deadline=None)
def test_every_graph_that_the_rules_pass_ends(graph: Graph, story: list[Event]) -> None:
    machine, last, every = follow(graph, story)
    ended(machine, last)
    steps = [one.step for one in every if isinstance(one, PlayPrompt | WaitForDigits | LookUp)]
    assert steps == sorted(set(steps))


@given(walkable_graph(), STORIES)
@settings(max_examples=150, deadline=None)
def test_no_question_is_asked_more_often_than_it_may(graph: Graph, story: list[Event]) -> None:
    machine, last, every = follow(graph, story)
    while not machine.is_over:
        answer = silent_answer(last[-1])
        assert answer is not None
        last = machine.feed(answer)
        every = every + last
    may_be_said: dict[str, int] = {}
    free = set()
    for node in graph.nodes.values():
        if isinstance(node, Collect) and node.prompt is not None:
            may_be_said[node.prompt] = may_be_said.get(node.prompt, 0) + node.tries
        elif isinstance(node, Play):
            free.add(node.prompt)
    said = [one.prompt for one in every if isinstance(one, PlayPrompt)]
    for prompt, times in may_be_said.items():
        if prompt not in free:
            assert said.count(prompt) <= times


@given(st.text("0123456789", min_size=4, max_size=4), st.lists(st.sampled_from(["played", ""]), min_size=4))
def test_no_digit_is_lost_whenever_it_is_dialled(number: str, moments: list[str]) -> None:
    """Before, while and after the request is heard."""
    machine = Machine(BUILT_IN["last_digits"])
    actions = told(machine, Started())
    for key, moment in zip(number, moments, strict=False):
        if moment:
            actions += told(machine, Played())
        actions += told(machine, Digit(key))
    assert actions[-1] == LookUp(Kind.LAST_DIGITS, number, actions[-1].step)  # type: ignore[union-attr]


@given(st.text("0123456789", min_size=1, max_size=6), st.text("0123456789", min_size=1, max_size=6))
def test_what_is_dialled_during_a_look_up_answers_the_next_question(first: str, second: str) -> None:
    machine = Machine(AXE)
    told(machine, Started(), *map(Digit, first), Digit("#"))
    if len(first) == 6:
        # there was nothing more to wait for: the terminator came after the look-up began
        told(machine, *map(Digit, second), Digit("#"))
        return
    assert told(machine, *map(Digit, second), Digit("#")) == []
    (action,) = told(machine, Looked(Found.NOT_FOUND))
    assert isinstance(action, LookUp)
    assert action.digits == second


def test_a_terminator_after_the_last_digit_is_not_an_answer_to_the_next_question() -> None:
    machine = Machine(AXE)
    actions = told(machine, Started("123456#"))
    assert actions == [LookUp(Kind.EXTENSION, "123456", 1)]
    (wrong,) = told(machine, Looked(Found.NOT_FOUND))
    assert wrong == PlayPrompt("wrong_extension", 2)


@given(st.text("0123456789", min_size=1, max_size=6))
def test_digits_that_were_dialled_along_are_not_waited_for(digits: str) -> None:
    (action,) = told(Machine(AXE), Started(digits))
    assert action == LookUp(Kind.EXTENSION, digits, 1)


def test_digits_after_which_nothing_more_comes() -> None:
    machine = Machine(AXE)
    told(machine, Started(), Played())
    (first,) = told(machine, Digit("7"))
    assert isinstance(first, WaitForDigits)
    assert (first.most, first.timeout_ms, first.terminators) == (5, 3000, "#")
    assert told(machine, Timeout(first.step - 1)) == []  # that of the time before the digit
    (action,) = told(machine, Timeout(first.step))
    assert isinstance(action, LookUp)
    assert action.digits == "7"


def test_a_prompt_that_ends_after_a_key_has_ended_it() -> None:
    machine = Machine(AXE)
    (request,) = told(machine, Started())
    assert isinstance(request, PlayPrompt)
    stop, wait = told(machine, Digit("7"))
    assert isinstance(stop, StopPlaying)
    assert isinstance(wait, WaitForDigits)
    assert told(machine, Played(request.step)) == []


def test_three_tries_and_then_no_more() -> None:
    machine = Machine(AXE)
    said: list[str] = []
    actions = told(machine, Started())
    for _ in range(30):
        said += [one.prompt for one in actions if isinstance(one, PlayPrompt)]
        if machine.is_over:
            break
        answer = silent_answer(actions[-1])
        assert answer is not None
        actions = machine.feed(answer)
    assert said == ["ask_extension"] * 3 + ["no_more_tries"]
    assert actions == [Refuse("extension_unknown")]


def test_a_menu() -> None:
    assert told(Machine(menu()), Started("1")) == [ConnectTo("+864008001234")]
    machine = Machine(menu())
    told(machine, Started(), Digit("9"))
    actions = told(machine, Played(), Digit("2"))
    assert actions[-1] == PlayPrompt("ask_extension", actions[-1].step)  # type: ignore[union-attr]
    told(machine, Digit("5"), Digit("5"), Digit("5"))
    assert told(machine, Looked(Found.FOUND)) == [ConnectTo(None)]


def test_no_digit_shows_in_what_is_logged() -> None:
    machine = Machine(BUILT_IN["last_digits"])
    events = [Started("13"), *map(Digit, "8000")]
    said = repr(events) + repr(told(machine, *events)) + repr(menu().nodes["hotline"])
    assert "1380" not in said
    assert "8000" not in said
    assert "4008001234" not in said
    assert repr(ConnectTo("+864008001234")) == "ConnectTo()"
