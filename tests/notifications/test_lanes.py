"""The rules of a customer's lane, whatever happens in whatever order."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from xiaohao.notifications.lanes import FIRST_AT_ONCE, MOST_AT_ONCE, WINDOW, Lane
from xiaohao.notifications.model import Event
from xiaohao.notifications.served import Served


def event(call: int, sequence: int, before: int = 0) -> Event:
    return Event(
        seq=call * 10 + sequence,
        id=f"evt_{call}_{sequence}",
        customer_id="cus_1",
        call_id=f"call {call}",
        sequence=sequence,
        kind="call.received",
        body_sealed=b"",
        tries=0,
        since=0,
        replayed=False,
        before=before,
    )


class LaneInAWorld(RuleBasedStateMachine):
    """The lane, the database it is filled from, and the customer who listens."""

    @initialize()
    def begin(self) -> None:
        self.lane = Lane("cus_1")
        self.due: dict[tuple[int, int], bool] = {}  # (call, sequence) → not put off
        self.flying: list[list[Event]] = []
        self.gathered: list[Event] = []
        self.unrecorded: list[tuple[Event, bool]] = []
        self.heard: list[tuple[int, int]] = []

    @rule(call=st.integers(1, 4), how_many=st.integers(1, 6))
    def a_call_goes_on(self, call: int, how_many: int) -> None:
        told = [sequence for one, sequence in [*self.due, *self.heard] if one == call]
        start = max(told, default=0) + 1
        for sequence in range(start, min(start + how_many, 7)):
            self.due[call, sequence] = True

    @rule(data=st.data())
    def the_database_is_read(self, data: st.DataObject) -> None:
        ready = [key for key, now in self.due.items() if now]
        read = data.draw(st.lists(st.sampled_from(ready), unique=True)) if ready else []
        found = [event(call, sequence, self._before(call, sequence)) for call, sequence in read]
        for held in self.lane.take_in(found):
            assert held.before > 0

    def _before(self, call: int, sequence: int) -> int:
        return sum(one == call and other < sequence for one, other in self.due)

    @rule()
    def one_is_sent(self) -> None:
        sent = self.lane.next()
        if sent is not None:
            self._is_allowed(sent)
            self.flying.append([sent])

    @rule()
    def one_is_gathered(self) -> None:
        sent = self.lane.next()
        if sent is not None:
            self._is_allowed(sent)
            self.lane.gather(sent)
            self.gathered.append(sent)

    @precondition(lambda self: self.gathered and self.lane.may_fly)
    @rule()
    def what_is_gathered_is_sent(self) -> None:
        self.lane.launch(self.gathered)
        self.flying.append(self.gathered)
        self.gathered = []

    @precondition(lambda self: self.gathered)
    @rule()
    def what_is_gathered_is_forgotten(self) -> None:
        self.lane.drop_waiting(self.gathered)
        self.gathered = []

    def _is_allowed(self, sent: Event) -> None:
        assert len(self.flying) < MOST_AT_ONCE
        under_way = [*self.gathered, *(other for flight in self.flying for other in flight)]
        assert sent.call_id not in [other.call_id for other in under_way]
        assert sent.call_id not in [ended.call_id for ended, good in self.unrecorded if not good]

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), good=st.booleans())
    def a_try_ends(self, data: st.DataObject, good: bool) -> None:
        ended = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        if good:
            self.heard += [(int(one.call_id[5:]), one.sequence) for one in ended]
            self.lane.delivered(*ended)
        else:
            self.lane.failed(*ended, endpoint_at_fault=data.draw(st.booleans()))
        self.unrecorded += [(one, good) for one in ended]

    @rule()
    def the_database_is_told(self) -> None:
        for ended, good in self.unrecorded:
            call = int(ended.call_id[5:])
            if good:
                del self.due[call, ended.sequence]
            else:
                for key in self.due:
                    if key[0] == call and key[1] >= ended.sequence:
                        self.due[key] = False
            self.lane.recorded(ended)
        self.unrecorded.clear()

    @rule()
    def time_passes(self) -> None:
        self.due = dict.fromkeys(self.due, True)

    @invariant()
    def nothing_is_heard_twice_or_out_of_order(self) -> None:
        for call in {call for call, _ in self.heard}:
            sequences = [sequence for one, sequence in self.heard if one == call]
            assert sequences == list(range(1, len(sequences) + 1))

    @invariant()
    def memory_knows_what_it_holds(self) -> None:
        assert self.lane.flying == len(self.flying)
        assert 1 <= self.lane.limit <= MOST_AT_ONCE
        in_flight = sum(map(len, self.flying))
        assert self.lane.known >= in_flight + len(self.gathered) + len(self.unrecorded)

    def teardown(self) -> None:
        """Whatever happened: with a good customer everything is heard in the end, and memory is empty."""
        if self.gathered:
            self.lane.launch(self.gathered)
            self.flying.append(self.gathered)
        while self.due:
            self.the_database_is_told()
            self.time_passes()
            self.lane.take_in([event(*key, self._before(*key)) for key in sorted(self.due)])
            while (sent := self.lane.next()) is not None:
                self.flying.append([sent])
            assert self.flying or not self.due
            while self.flying:
                ended = self.flying.pop(0)
                self.heard += [(int(one.call_id[5:]), one.sequence) for one in ended]
                self.lane.delivered(*ended)
                self.unrecorded += [(one, True) for one in ended]
        self.nothing_is_heard_twice_or_out_of_order()
        assert self.lane.is_empty


TestLane = LaneInAWorld.TestCase


def test_the_window_is_the_limit_of_memory() -> None:
    lane = Lane("cus_1")
    lane.take_in([event(call, 1) for call in range(WINDOW + 10)])
    assert (lane.known, lane.room, lane.more) == (WINDOW, 0, True)


def test_the_limit_halves_with_each_failure_and_grows_with_each_success() -> None:
    lane = Lane("cus_1")
    lane.take_in([event(call, 1) for call in range(100)])
    assert lane.limit == FIRST_AT_ONCE
    for _ in range(MOST_AT_ONCE):
        sent = lane.next()
        assert sent is not None
        lane.delivered(sent)
    assert lane.limit == MOST_AT_ONCE
    seen = []
    for _ in range(7):
        sent = lane.next()
        assert sent is not None
        lane.failed(sent, endpoint_at_fault=True)
        seen.append(lane.limit)
    assert seen == [16, 8, 4, 2, 1, 1, 1]
    sent = lane.next()
    assert sent is not None and lane.next() is None
    lane.delivered(sent)
    assert lane.limit == 2


def test_an_event_that_only_the_customer_dislikes_costs_no_speed() -> None:
    lane = Lane("cus_1")
    lane.take_in([event(1, 1)])
    sent = lane.next()
    assert sent is not None
    lane.failed(sent, endpoint_at_fault=False)
    assert (lane.limit, lane.is_struggling) == (FIRST_AT_ONCE, False)


def test_a_lane_that_another_worker_has_sends_nothing_more() -> None:
    lane = Lane("cus_1")
    lane.take_in([event(1, 1), event(1, 2, before=1), event(2, 1)])
    under_way = lane.next()
    lane.drop_waiting()
    assert under_way is not None and lane.next() is None
    lane.delivered(under_way)
    lane.recorded(under_way)
    assert lane.is_empty


def test_a_struggling_endpoint_has_few_at_hand_and_is_seldom_read_for() -> None:
    served = Served(Lane("cus_1"), lease_until=0)
    assert served.to_read() == WINDOW
    served.lane.take_in([event(call, 1) for call in range(40)])
    assert served.to_read() == 0  # there is enough to do, and it was looked a moment ago
    sent = served.next([])
    assert sent is not None
    served.lane.failed(*sent.events, endpoint_at_fault=True)
    served.read_at -= 3600
    assert served.to_read() == 0  # 39 are more than such an endpoint needs
    for _ in range(30):
        flight = served.next([])
        assert flight is not None
        served.lane.failed(*flight.events, endpoint_at_fault=True)
    assert served.to_read() == 16 - 9 + served.lane.known
    assert served.to_read() == 0
