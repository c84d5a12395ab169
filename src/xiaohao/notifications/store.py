"""All SQL of the table `events`: stored with the fact they tell, found and marked for delivery."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    URL,
    BigInteger,
    BindParameter,
    Dialect,
    Text,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.calls.model import Call
from xiaohao.database.direct import Cursor, Direct, Insert, Row, Statement, insert_into
from xiaohao.database.fence import Fence
from xiaohao.database.horizon import announce
from xiaohao.database.schema import events, leases
from xiaohao.notifications.model import (
    FIRST_CORRECTION,
    SEQUENCE,
    Backlog,
    Event,
    Kind,
    Outcome,
    correction_event_id,
    event_id,
)
from xiaohao.notifications.rows import due
from xiaohao.notifications.wire import (
    event_document,
    routing_event_document,
)
from xiaohao.secrecy import Vault
from xiaohao.trace.store import failed_tries, failed_tries_insert

_COLUMNS: Final = (
    "id",
    "customer_id",
    "call_id",
    "sequence",
    "kind",
    "occurred_at",
    "body_sealed",
    "state",
    "due_at",
    "tries",
    "created_at",
)
#: What an event is: one call tells each kind once.
_KEY: Final = ("call_id", "sequence")


# A partial index is used only where the statement says its condition in so many words.
_IS_DUE: Final = events.c.state == literal_column("'due'")

#: Customers with anything due: one look into the index for each instead of reading the whole backlog.
_CUSTOMERS_WITH_DUE: Final = text(
    """
    WITH RECURSIVE waiting(customer_id) AS (
        SELECT min(customer_id) FROM events WHERE state = 'due'
        UNION ALL
        SELECT (SELECT min(customer_id) FROM events WHERE state = 'due' AND customer_id > waiting.customer_id)
        FROM waiting WHERE waiting.customer_id IS NOT NULL
    )
    SELECT customer_id FROM waiting
    WHERE customer_id IS NOT NULL AND EXISTS (
        SELECT 1 FROM events
        WHERE state = 'due' AND events.customer_id = waiting.customer_id AND due_at <= :now
    )
    """
).bindparams(bindparam("now", type_=BigInteger))


def event_row(
    vault: Vault,
    kind: Kind,
    call: Call,
    occurred_at: int,
    now: int,
    *,
    extra: dict[str, dict[str, Any]] | None = None,
) -> Row:
    """The row of an event of a call that belongs to a customer; `now` is when it is stored and due."""
    name = event_id(call.id, kind)
    if kind is Kind.ROUTING_ANSWER_REFUSED:
        body = routing_event_document(name, occurred_at, call)
    else:
        body = event_document(kind, name, occurred_at, call, extra)
    place = (name, call.customer_id, call.id, SEQUENCE[kind], kind.value)
    return (*place, occurred_at, *due(vault, body, now))


def correction_event_row(
    vault: Vault, call: Call, number: int, occurred_at: int, extra: dict[str, dict[str, Any]]
) -> Row:
    """The row of `cdr.corrected`, of the n-th correction of a call's CDR; stored when it happens."""
    kind, name, place = Kind.CDR_CORRECTED, correction_event_id(call.id, number), FIRST_CORRECTION + number
    body = event_document(kind, name, occurred_at, call, extra, place)
    key = (name, call.customer_id, call.id, place, kind.value)
    return (*key, occurred_at, *due(vault, body, occurred_at))


def event_insert(dialect: Dialect) -> Insert:
    """Stores `event_row`s over a plain connection; an event that is there already stays as it is."""
    return Insert(dialect, events, _COLUMNS, lambda into: into.on_conflict_do_nothing(index_elements=_KEY))


async def insert(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Store `event_row`s in the transaction of `connection`; one that is there already stays as it is."""
    values = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    await announce(connection, events)
    await connection.execute(
        insert_into(connection.dialect, events).on_conflict_do_nothing(index_elements=_KEY), values
    )


async def pull_in(connection: AsyncConnection, latest: int, now: int) -> int:
    """Let events be due now that are due after `latest`, and end leases that last longer; gives how many
    events. Nothing is put off so far: the clock was set back.
    """
    await connection.execute(delete(leases).where(leases.c.until > latest))
    far = _IS_DUE & (events.c.due_at > latest)
    return (await connection.execute(update(events).where(far).values(due_at=now))).rowcount


class Outbox:
    """The worker's side: finding what is due, telling what became of it, and who may deliver.

    Blocking, over one plain connection, so that it runs in a thread of its own, one call at a time. Every
    method raises DatabaseUnavailable.
    """

    def __init__(self, url: URL, owner: str, fence: Fence | None = None) -> None:
        """`owner` is this worker's name in leases: the same after a restart, another on each machine."""
        # The worker tidies SQLite's log up before anybody else has to. Most pages are written again and
        # again, and are copied once for all of that.
        self._direct = Direct(url, checkpoint_pages=4000, fence=fence)
        self._owner = owner
        self._finding = _Finding(self._direct.dialect)
        self._settling = _Settling(self._direct.dialect)
        self._take_lease, self._release_lease = _leases(self._direct.dialect)

    def newest(self) -> int:
        """The `seq` of the newest event; 0 when there is none."""
        with self._direct.read() as cursor:
            self._finding.newest.run(cursor)
            return int(cursor.fetchall()[0][0] or 0)

    def arrived(self, after: int, now: int, limit: int) -> list[Event]:
        """Events due that were stored after the one with the `seq` `after`, in the order of storing."""
        with self._direct.read() as cursor:
            self._finding.arrived.run(cursor, after=after, now=now, limit=limit)
            return [Event(*row) for row in cursor.fetchall()]

    def customers(self, now: int) -> list[str]:
        """Customers who have anything due."""
        with self._direct.read() as cursor:
            self._finding.customers.run(cursor, now=now)
            return [customer_id for (customer_id,) in cursor.fetchall()]

    def due(self, limits: Mapping[str, int], now: int) -> dict[str, list[Event]]:
        """Events due of these customers, at most so many of each, the longest due first."""
        found = {}
        with self._direct.read() as cursor:
            for customer_id, limit in limits.items():
                self._finding.due.run(cursor, customer_id=customer_id, now=now, limit=limit)
                found[customer_id] = [Event(*row) for row in cursor.fetchall()]
        return found

    def settle(self, outcomes: Sequence[Outcome], held: Sequence[Event]) -> None:
        """Write down what became of tries, and put off events that wait for an earlier one of their call."""
        delivered = [(o.at, o.event.seq) for o in outcomes if o.error is None and not o.unwanted]
        unwanted = [(o.event.seq,) for o in outcomes if o.unwanted]
        dead = [(o.error, o.event.seq) for o in outcomes if o.error is not None and o.retry_at is None]
        again = [o for o in outcomes if o.retry_at is not None]
        with self._direct.write() as cursor:
            statements = self._settling
            _many(cursor, statements.delivered, ("at", "of_seq"), delivered)
            _many(cursor, statements.unwanted, ("of_seq",), unwanted)
            _many(cursor, statements.dead, ("error", "of_seq"), dead)
            _many(
                cursor,
                statements.again,
                ("at", "error", "of_seq"),
                [(o.retry_at, o.error, o.event.seq) for o in again],
            )
            _many(
                cursor,
                statements.behind,
                ("at", "of_call", "of_sequence"),
                [(o.retry_at, o.event.call_id, o.event.sequence) for o in again],
            )
            statements.failed.run(cursor, failed_tries(outcomes))
            _many(cursor, statements.hold, ("of_seq",), [(event.seq,) for event in held])

    def set_aside(self, customer_id: str) -> None:
        """Nobody wants the events of this customer that are due: they stay stored and are not delivered."""
        with self._direct.write() as cursor:
            self._settling.set_aside.run(cursor, of_customer=customer_id)

    def take_leases(self, customer_ids: Iterable[str], now: int, until: int) -> set[str]:
        """Take or renew the sole right to deliver to customers; gives back those for whom it is ours."""
        ours = set()
        with self._direct.write() as cursor:
            for customer_id in customer_ids:
                self._take_lease.run(
                    cursor, name=_lease(customer_id), owner=self._owner, until=until, now=now
                )
                if cursor.fetchall():
                    ours.add(customer_id)
        return ours

    def release_leases(self, customer_ids: Iterable[str]) -> None:
        """Give the right back."""
        names = [(_lease(customer_id), self._owner) for customer_id in customer_ids]
        with self._direct.write() as cursor:
            _many(cursor, self._release_lease, ("of_name", "of_owner"), names)

    def backlog(self) -> Backlog:
        """Count what is due."""
        with self._direct.read() as cursor:
            self._finding.backlog.run(cursor)
            count, oldest = cursor.fetchall()[0]
        return Backlog(int(count), oldest)

    def close(self) -> None:
        """Give the connection back."""
        self._direct.close()


def _earlier() -> tuple[Any, Any]:
    """The earlier events of the same call that are still due: their table, and the condition."""
    earlier = events.alias("earlier")
    condition = (
        (earlier.c.call_id == events.c.call_id)
        & (earlier.c.sequence < events.c.sequence)
        & (earlier.c.state == literal_column("'due'"))
    )
    return earlier, condition


class _Finding:
    """Statements that look for events."""

    def __init__(self, dialect: Dialect) -> None:
        earlier, is_earlier = _earlier()
        columns = (
            events.c.seq,
            events.c.id,
            events.c.customer_id,
            events.c.call_id,
            events.c.sequence,
            events.c.kind,
            events.c.body_sealed,
            events.c.tries,
            func.coalesce(events.c.replayed_at, events.c.created_at),
            events.c.replayed_at.is_not(None),
            select(func.count()).select_from(earlier).where(is_earlier).scalar_subquery().label("before"),
        )
        limit = bindparam("limit", type_=BigInteger)
        is_due_now = _IS_DUE & (events.c.due_at <= bindparam("now", type_=BigInteger))
        is_new = events.c.seq > bindparam("after", type_=BigInteger)
        is_theirs = events.c.customer_id == bindparam("customer_id")
        new = select(*columns).where(is_new & is_due_now).order_by(events.c.seq).limit(limit)
        theirs = select(*columns).where(is_theirs & is_due_now)
        theirs = theirs.order_by(events.c.due_at, events.c.seq).limit(limit)
        self.newest = Statement(dialect, select(func.max(events.c.seq)))
        self.arrived = Statement(dialect, new)
        self.due = Statement(dialect, theirs)
        self.customers = Statement(dialect, _CUSTOMERS_WITH_DUE)
        self.backlog = Statement(dialect, select(func.count(), func.min(events.c.due_at)).where(_IS_DUE))


class _Settling:
    """Statements that say what became of events. Each touches only what is still due."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        of_seq = events.c.seq == bindparam("of_seq", type_=BigInteger)
        of_customer = events.c.customer_id == bindparam("of_customer")
        later = (events.c.call_id == bindparam("of_call")) & (
            events.c.sequence > bindparam("of_sequence", type_=BigInteger)
        )
        earlier, is_earlier = _earlier()
        latest = select(func.max(earlier.c.due_at)).where(is_earlier).scalar_subquery()
        error: BindParameter[str] = bindparam("error", type_=Text)
        at = bindparam("at", type_=BigInteger)
        tried = {"tries": events.c.tries + literal_column("1")}
        self.delivered = self._update(of_seq, state=literal_column("'delivered'"), delivered_at=at, **tried)
        self.dead = self._update(of_seq, state=literal_column("'dead'"), last_error=error, **tried)
        self.again = self._update(of_seq, due_at=at, last_error=error, **tried)
        self.behind = self._update(later, due_at=at)
        self.hold = self._update(of_seq & (events.c.due_at < latest), due_at=latest)
        self.unwanted = self._update(of_seq, state=literal_column("'unwanted'"))
        self.set_aside = self._update(of_customer, state=literal_column("'unwanted'"))
        self.failed = failed_tries_insert(dialect)

    def _update(self, which: Any, **values: Any) -> Statement:
        return Statement(self._dialect, update(events).where(which & _IS_DUE).values(**values))


def _leases(dialect: Dialect) -> tuple[Statement, Statement]:
    """Statements that take (or renew) a lease, and give it back."""
    into = insert_into(dialect, leases)
    new = into.excluded
    take = (
        into.values(name=bindparam("name"), owner=bindparam("owner"), until=bindparam("until"))
        .on_conflict_do_update(
            index_elements=["name"],
            set_={"owner": new.owner, "until": new.until},
            where=(leases.c.until < bindparam("now", type_=BigInteger)) | (leases.c.owner == new.owner),
        )
        .returning(leases.c.name)
    )
    ours = (leases.c.name == bindparam("of_name")) & (leases.c.owner == bindparam("of_owner"))
    return Statement(dialect, take), Statement(dialect, delete(leases).where(ours))


def _lease(customer_id: str) -> str:
    return f"deliver:{customer_id}"


def _many(
    cursor: Cursor, statement: Statement, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    if rows:
        cursor.executemany(
            statement.text, [statement.row(**dict(zip(names, row, strict=True))) for row in rows]
        )
