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
from xiaohao.database.schema import events, leases
from xiaohao.notifications.model import SEQUENCE, Backlog, Event, EventState, Kind, Outcome, event_id
from xiaohao.notifications.wire import event_document
from xiaohao.secrecy import Vault

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
    body = event_document(kind, name, occurred_at, call, extra)
    return (
        name,
        call.customer_id,
        call.id,
        SEQUENCE[kind],
        kind.value,
        occurred_at,
        vault.seal(body.decode()),
        EventState.DUE.value,
        now,
        0,
        now,
    )


def event_insert(dialect: Dialect) -> Insert:
    """Stores `event_row`s over a plain connection; an event that is there already stays as it is."""
    return Insert(dialect, events, _COLUMNS, lambda into: into.on_conflict_do_nothing(index_elements=_KEY))


async def insert(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Store `event_row`s in the transaction of `connection`; one that is there already stays as it is."""
    values = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    await connection.execute(
        insert_into(connection.dialect, events).on_conflict_do_nothing(index_elements=_KEY), values
    )


class Outbox:
    """The worker's side: finding what is due, telling what became of it, and who may deliver.

    Blocking, over one plain connection, so that it runs in a thread of its own, one call at a time. Every
    method raises DatabaseUnavailable.
    """

    def __init__(self, url: URL, owner: str) -> None:
        """`owner` is this worker's name in leases: the same after a restart, another on each machine."""
        self._direct = Direct(url)
        self._owner = owner
        self._statements = _Statements(self._direct)

    def newest(self) -> int:
        """The `seq` of the newest event; 0 when there is none."""
        with self._direct.read() as cursor:
            self._statements.newest.run(cursor)
            return int(cursor.fetchall()[0][0] or 0)

    def arrived(self, after: int, now: int, limit: int) -> list[Event]:
        """Events due that were stored after the one with the `seq` `after`, in the order of storing."""
        with self._direct.read() as cursor:
            self._statements.arrived.run(cursor, after=after, now=now, limit=limit)
            return [Event(*row) for row in cursor.fetchall()]

    def customers(self, now: int) -> list[str]:
        """Customers who have anything due."""
        with self._direct.read() as cursor:
            self._statements.customers.run(cursor, now=now)
            return [customer_id for (customer_id,) in cursor.fetchall()]

    def due(self, limits: Mapping[str, int], now: int) -> dict[str, list[Event]]:
        """Events due of these customers, at most so many of each, the longest due first."""
        found = {}
        with self._direct.read() as cursor:
            for customer_id, limit in limits.items():
                self._statements.due.run(cursor, customer_id=customer_id, now=now, limit=limit)
                found[customer_id] = [Event(*row) for row in cursor.fetchall()]
        return found

    def settle(self, outcomes: Sequence[Outcome], held: Sequence[Event]) -> None:
        """Write down what became of tries, and put off events that wait for an earlier one of their call."""
        delivered = [(o.at, o.event.seq) for o in outcomes if o.error is None]
        dead = [(o.error, o.event.seq) for o in outcomes if o.error is not None and o.retry_at is None]
        again = [o for o in outcomes if o.retry_at is not None]
        with self._direct.write() as cursor:
            statements = self._statements
            _many(cursor, statements.delivered, ("at", "of_seq"), delivered)
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
            _many(cursor, statements.hold, ("of_seq",), [(event.seq,) for event in held])

    def set_aside(self, customer_id: str) -> None:
        """Nobody wants the events of this customer that are due: they stay stored and are not delivered."""
        with self._direct.write() as cursor:
            self._statements.unwanted.run(cursor, of_customer=customer_id)

    def take_leases(self, customer_ids: Iterable[str], now: int, until: int) -> set[str]:
        """Take or renew the sole right to deliver to customers; gives back those for whom it is ours."""
        ours = set()
        with self._direct.write() as cursor:
            for customer_id in customer_ids:
                self._statements.take_lease.run(
                    cursor, name=_lease(customer_id), owner=self._owner, until=until, now=now
                )
                if cursor.fetchall():
                    ours.add(customer_id)
        return ours

    def release_leases(self, customer_ids: Iterable[str]) -> None:
        """Give the right back."""
        names = [(_lease(customer_id), self._owner) for customer_id in customer_ids]
        with self._direct.write() as cursor:
            _many(cursor, self._statements.release_lease, ("of_name", "of_owner"), names)

    def backlog(self) -> Backlog:
        """Count what is due."""
        with self._direct.read() as cursor:
            self._statements.backlog.run(cursor)
            count, oldest = cursor.fetchall()[0]
        return Backlog(int(count), oldest)

    def close(self) -> None:
        """Give the connection back."""
        self._direct.close()


class _Statements:
    def __init__(self, direct: Direct) -> None:
        dialect = direct.dialect
        earlier = events.alias("earlier")
        is_earlier = (
            (earlier.c.call_id == events.c.call_id)
            & (earlier.c.sequence < events.c.sequence)
            & (earlier.c.state == literal_column("'due'"))
        )
        before = select(func.count()).select_from(earlier).where(is_earlier).scalar_subquery()
        columns = (
            events.c.seq,
            events.c.id,
            events.c.customer_id,
            events.c.call_id,
            events.c.sequence,
            events.c.body_sealed,
            events.c.tries,
            events.c.created_at,
            before.label("before"),
        )
        now, limit = bindparam("now", type_=BigInteger), bindparam("limit", type_=BigInteger)
        is_due_now = _IS_DUE & (events.c.due_at <= now)
        self.newest = Statement(dialect, select(func.max(events.c.seq)))
        self.arrived = Statement(
            dialect,
            select(*columns)
            .where((events.c.seq > bindparam("after", type_=BigInteger)) & is_due_now)
            .order_by(events.c.seq)
            .limit(limit),
        )
        self.customers = Statement(dialect, _CUSTOMERS_WITH_DUE)
        self.due = Statement(
            dialect,
            select(*columns)
            .where((events.c.customer_id == bindparam("customer_id")) & is_due_now)
            .order_by(events.c.due_at, events.c.seq)
            .limit(limit),
        )
        of_seq = (events.c.seq == bindparam("of_seq", type_=BigInteger)) & _IS_DUE
        one_more = events.c.tries + literal_column("1")
        error: BindParameter[str] = bindparam("error", type_=Text)
        at = bindparam("at", type_=BigInteger)
        self.delivered = Statement(
            dialect,
            update(events)
            .where(of_seq)
            .values(state=literal_column("'delivered'"), delivered_at=at, tries=one_more),
        )
        self.dead = Statement(
            dialect,
            update(events)
            .where(of_seq)
            .values(state=literal_column("'dead'"), last_error=error, tries=one_more),
        )
        self.again = Statement(
            dialect, update(events).where(of_seq).values(due_at=at, last_error=error, tries=one_more)
        )
        self.behind = Statement(
            dialect,
            update(events)
            .where(
                (events.c.call_id == bindparam("of_call"))
                & (events.c.sequence > bindparam("of_sequence", type_=BigInteger))
                & _IS_DUE
            )
            .values(due_at=at),
        )
        latest = select(func.max(earlier.c.due_at)).where(is_earlier).scalar_subquery()
        self.hold = Statement(
            dialect,
            update(events).where(of_seq & (events.c.due_at < latest)).values(due_at=latest),
        )
        self.unwanted = Statement(
            dialect,
            update(events)
            .where((events.c.customer_id == bindparam("of_customer")) & _IS_DUE)
            .values(state=literal_column("'unwanted'")),
        )
        self.backlog = Statement(dialect, select(func.count(), func.min(events.c.due_at)).where(_IS_DUE))
        self.take_lease = _take_lease(direct)
        self.release_lease = Statement(
            dialect,
            delete(leases).where(
                (leases.c.name == bindparam("of_name")) & (leases.c.owner == bindparam("of_owner"))
            ),
        )


def _take_lease(direct: Direct) -> Statement:
    into: Any = insert_into(direct.dialect, leases)
    new = into.excluded
    return Statement(
        direct.dialect,
        into.values(name=bindparam("name"), owner=bindparam("owner"), until=bindparam("until"))
        .on_conflict_do_update(
            index_elements=["name"],
            set_={"owner": new.owner, "until": new.until},
            where=(leases.c.until < bindparam("now", type_=BigInteger)) | (leases.c.owner == new.owner),
        )
        .returning(leases.c.name),
    )


def _lease(customer_id: str) -> str:
    return f"deliver:{customer_id}"


def _many(
    cursor: Cursor, statement: Statement, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]
) -> None:
    if rows:
        cursor.executemany(
            statement.text, [statement.row(**dict(zip(names, row, strict=True))) for row in rows]
        )
