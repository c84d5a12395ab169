"""The SQL that finds the live bindings which a request may mean that has no B."""

from functools import lru_cache
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, literal_column, select

from xiaohao.bindings.writing_store import BINDING_COLUMNS, BindingRow, binding_row
from xiaohao.database.direct import Cursor, Statement, dialect_of
from xiaohao.database.schema import bindings

# A partial index is used only where the statement says its condition in so many words.
_LIVE: Final[Any] = literal_column("'live'")


class ReuseStatements:
    """Compiled for one of the two databases."""

    def __init__(self, dialect_name: str) -> None:
        dialect = dialect_of(dialect_name)
        self._of_a = Statement(dialect, _without_b(bindings.c.a_key == bindparam("a")))
        self._of_nobody = Statement(dialect, _without_b(bindings.c.a_key.is_(None)))

    def without_b(self, cursor: Cursor, customer_id: str, a_key: bytes | None) -> list[BindingRow]:
        """The live bindings that A (None: nobody, mode x) has with nobody who is known, oldest first."""
        if a_key is None:
            self._of_nobody.run(cursor, of_customer=customer_id)
        else:
            self._of_a.run(cursor, of_customer=customer_id, a=a_key)
        return [binding_row(row) for row in cursor.fetchall()]


@lru_cache(maxsize=2)
def reuse_statements(dialect_name: str) -> ReuseStatements:
    """Compiled once for each of the two databases."""
    return ReuseStatements(dialect_name)


def _without_b(of_a: ColumnElement[bool]) -> Any:
    return (
        select(*(bindings.c[name] for name in BINDING_COLUMNS))
        .where(
            bindings.c.customer_id == bindparam("of_customer"),
            of_a,
            bindings.c.b_key.is_(None),
            bindings.c.state == _LIVE,
        )
        .order_by(bindings.c.seq)
    )
