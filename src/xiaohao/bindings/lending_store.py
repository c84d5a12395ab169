"""All SQL by which bindings change the states of the numbers that they lend, each change with its history.

The history is written just before the change, from the state that is about to go. Whoever calls has locked
the numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    Insert,
    Select,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from xiaohao.bindings.model import LegState, Role
from xiaohao.database.direct import Cursor, ForKeys, ForRows, Row
from xiaohao.database.schema import legs, number_history, numbers
from xiaohao.numbers.lifecycle import Reason
from xiaohao.numbers.model import PERSONAL_STATES, NumberState

_COLUMNS: Final = (
    *("number", "at", "from_state", "to_state", "reason"),
    *("customer_id", "person_key", "person_sealed"),
)
_NOW: Final = bindparam("now", type_=BigInteger)

_NOTE_LENDING: Final = """
WITH given(number, a_key, a_sealed, borrower) AS (VALUES {rows})
INSERT INTO number_history
    (number, at, from_state, to_state, reason, customer_id, person_key, person_sealed)
SELECT numbers.number, {now}, numbers.state, 'in_service', 'assigned',
    COALESCE(numbers.customer_id, given.borrower),
    CASE WHEN given.a_sealed IS NULL THEN NULL ELSE given.a_key END, CAST(given.a_sealed AS {blob})
FROM numbers JOIN given ON numbers.number = given.number ORDER BY numbers.number
"""
_LEND: Final = """
WITH given(number, a_key, a_sealed, borrower) AS (VALUES {rows})
UPDATE numbers SET state = 'in_service', assigned_to_key = given.a_key,
    assigned_to_sealed = CAST(given.a_sealed AS {blob}), assigned_by = given.borrower,
    state_reason = 'assigned', state_at = {now}, updated_at = {now}
FROM given WHERE numbers.number = given.number
"""

_CUSTOMER: Final = func.coalesce(numbers.c.customer_id, numbers.c.assigned_by)
_IS_LENT: Final = and_(~numbers.c.fixed, numbers.c.assigned_to_key.is_not(None))
_IS_PERSONAL: Final = or_(*(numbers.c.state == state.value for state in PERSONAL_STATES))
# A suspended or retired number is let go as well, and stays what it is.
_AFTERWARDS: Final = case((_IS_PERSONAL, NumberState.AVAILABLE.value), else_=numbers.c.state)


class LendingStatements:
    """How numbers become people's X and cease to be it, compiled for one of the two databases."""

    def __init__(self, dialect: Dialect, at_once: int) -> None:
        words = {"now": "?", "blob": "BLOB"} if dialect.name == "sqlite" else {"now": "%s", "blob": "BYTEA"}
        self._lending = [
            ForRows(dialect, 4, _filled(text, words), at_once) for text in (_NOTE_LENDING, _LEND)
        ]
        self._ageing = [ForKeys(dialect, make, at_once) for make in (_note_ageing, _let_age)]
        self._returning = [ForKeys(dialect, make, at_once) for make in (_note_return, _give_back)]

    def lend(self, cursor: Cursor, rows: Sequence[Row], now: int) -> None:
        """Make free or ageing numbers people's X: (number, key of the person, sealed person, customer).

        An X of many is no person's: the sealed person is None.
        """
        note, lend = self._lending
        note.run(cursor, rows, now)
        lend.run(cursor, rows, now, now)

    def let_age(self, cursor: Cursor, binding_ids: Sequence[str], now: int) -> None:
        """The numbers that these bindings lent and that lead to their person no more wait for their rest."""
        for statement in self._ageing:
            statement.run(cursor, binding_ids, now=now)

    def give_back(self, cursor: Cursor, lent: Sequence[str], now: int) -> None:
        """Make those of the numbers free that were lent and that no leg leads through any more."""
        for statement in self._returning:
            statement.run(cursor, lent, now=now)


def _filled(text: str, words: dict[str, str]) -> Callable[[str], str]:
    return lambda rows: text.format(rows=rows, **words)


def _history(to: Any, reason: Reason, person: tuple[Any, Any], which: ColumnElement[bool]) -> Insert:
    facts: Select[Any] = select(
        numbers.c.number, _NOW, numbers.c.state, to, literal(reason.value), _CUSTOMER, *person
    ).where(which)
    return insert(number_history).from_select(_COLUMNS, facts.order_by(numbers.c.number))


def _through(*conditions: Any) -> ColumnElement[bool]:
    """Legs lead through the number to the person whose X it is."""
    return exists().where(legs.c.dialled == numbers.c.number, legs.c.role == Role.B.value, *conditions)


def _idle(binding_ids: list[Any]) -> ColumnElement[bool]:
    of_these = select(legs.c.dialled).where(
        legs.c.binding_id.in_(binding_ids), legs.c.role + "" == Role.B.value
    )
    in_service = numbers.c.state == NumberState.IN_SERVICE.value
    live = _through(legs.c.state + "" == LegState.LIVE.value)
    return and_(numbers.c.number.in_(of_these), in_service, _IS_LENT, ~live)


def _note_ageing(binding_ids: list[Any]) -> Insert:
    person = (numbers.c.assigned_to_key, numbers.c.assigned_to_sealed)
    return _history(literal(NumberState.AGEING.value), Reason.RETURNED, person, _idle(binding_ids))


def _let_age(binding_ids: list[Any]) -> Update:
    return (
        update(numbers)
        .where(_idle(binding_ids))
        .values(
            state=NumberState.AGEING.value,
            state_reason=Reason.RETURNED.value,
            state_at=_NOW,
            updated_at=_NOW,
        )
    )


def _over(lent: list[Any]) -> ColumnElement[bool]:
    return and_(numbers.c.number.in_(lent), _IS_LENT, ~_through())


def _note_return(lent: list[Any]) -> Insert:
    return _history(_AFTERWARDS, Reason.RECYCLE_OVER, (null(), null()), _over(lent))


def _give_back(lent: list[Any]) -> Update:
    return (
        update(numbers)
        .where(_over(lent))
        .values(
            assigned_to_key=null(),
            assigned_to_sealed=null(),
            assigned_by=null(),
            state=_AFTERWARDS,
            state_reason=case((_IS_PERSONAL, Reason.RECYCLE_OVER.value), else_=numbers.c.state_reason),
            state_at=case((_IS_PERSONAL, _NOW), else_=numbers.c.state_at),
            updated_at=_NOW,
        )
    )
