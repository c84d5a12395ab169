"""The one query of the hot path: who is to be connected when this caller dials this number?"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Dialect, bindparam, exists, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, LargeBinary, Text

from xiaohao.bindings.model import Mode, Role
from xiaohao.bindings.modes import ANYONE
from xiaohao.bindings.recognition import LegMatch, as_anyone, is_over_for_b, judge
from xiaohao.database.direct import Statement
from xiaohao.database.schema import bindings, legs
from xiaohao.numbers.model import is_foreign
from xiaohao.secrecy import Vault

#: Parameters: `caller_key` (the caller's blind index, or that of an extension, b"" where there is none),
#: `anyone`, `dialled` (canonical) and `now`. The caller's own leg comes before the one that anyone may dial;
#: a leg whose quarantine is over is as good as gone. No row: nobody's number. Columns in the order of
#: `recognition.LegRow`.
#:
#: `w` is the number to be displayed, without a leg the one that was dialled; `d` the one that is displayed in
#: its place where `w` is only dialled.
#: A binding that has run out may not have been ended yet: its time of grace is reckoned as its end will do.
HOT_LOOKUP_SQL: Final = """
SELECT n.state, n.dialled_by, n.assigned_to_key, c.id, c.state,
       l.state, l.role, l.mode, l.barred, l.binding_id, l.callee_sealed, l.display, l.valid_until,
       COALESCE(l.grace_until, CASE WHEN l.state = 'live' AND l.valid_until <= :now THEN l.valid_until
           + CAST(1000000 AS BIGINT) * (SELECT p.grace_s FROM pools p WHERE p.id = n.pool_id) END),
       l.record, l.max_duration_s, l.prompts, l.order_ref, l.user_data,
       w.state, d.number, d.state, d.displayable, d.kind, d.verification, d.verified_until, d.trunk_id,
       n.pool_id, CASE WHEN n.customer_id = c.id THEN n.routing END
FROM numbers n
LEFT JOIN legs l ON l.dialled = n.number AND l.caller_key IN (:caller_key, :anyone)
                AND (l.quarantine_until IS NULL OR l.quarantine_until > :now)
LEFT JOIN customers c ON c.id = COALESCE(l.customer_id, n.customer_id, n.assigned_by)
LEFT JOIN numbers w ON w.number = COALESCE(l.display, n.number)
LEFT JOIN numbers d ON d.number = CASE WHEN w.displayable THEN w.number ELSE w.displayed_as END
WHERE n.number = :dialled
ORDER BY CASE WHEN l.caller_key = :anyone THEN 1 ELSE 0 END
LIMIT 1
"""
_NAMES: Final = ("caller_key", "anyone", "dialled", "now")


def _for_psycopg(sql: str) -> str:
    for name in _NAMES:
        sql = sql.replace(f":{name}", f"%({name})s")
    return sql


#: The same for psycopg.
HOT_LOOKUP_PSYCOPG: Final = _for_psycopg(HOT_LOOKUP_SQL)
_LOOK_UP: Final = text(HOT_LOOKUP_SQL).bindparams(
    bindparam("caller_key", type_=LargeBinary),
    bindparam("anyone", type_=LargeBinary),
    bindparam("dialled", type_=Text),
    bindparam("now", type_=BigInteger),
)


def parameters(caller_key: bytes, dialled: str, now: int) -> dict[str, Any]:
    """What the query is given."""
    return {"caller_key": caller_key, "anyone": ANYONE, "dialled": dialled, "now": now}


async def look_up(
    connection: AsyncConnection, caller_key: bytes, dialled: str, now: int
) -> Sequence[Any] | None:
    """The row for `recognition.judge`."""
    found = await connection.execute(_LOOK_UP, parameters(caller_key, dialled, now))
    return found.one_or_none()


async def recognised(
    connection: AsyncConnection, vault: Vault, caller: str | None, dialled: str, now: int
) -> LegMatch:
    """What a call of `caller` (None: withheld) to `dialled` would come to; both are canonical.

    The switch does the same over connections of its own (switch/recognise.py).
    """
    key = b"" if caller is None else vault.index(caller)
    from_abroad = caller is not None and is_foreign(caller)
    match = judge(await look_up(connection, key, dialled, now), now, from_abroad=from_abroad)
    if not is_over_for_b(match):
        return match
    anyone = judge(await look_up(connection, b"", dialled, now), now, from_abroad=from_abroad)
    return as_anyone(match, anyone, vault.open)


def remember_last_caller(dialect: Dialect) -> Statement:
    """The statement by which A, dialling their own X of mode AX, reaches who called it last.

    Parameters: `a_key`, `x`, `binding`, and `caller_sealed`, None where the caller hid their number. Nothing
    happens where the binding names a B of its own.
    """
    named = exists().where(bindings.c.id == legs.c.binding_id, bindings.c.b_key.is_not(None))
    mine = (
        legs.c.caller_key == bindparam("a_key"),
        legs.c.dialled == bindparam("x"),
        legs.c.binding_id == bindparam("binding"),
        legs.c.role == Role.A.value,
        legs.c.mode == Mode.AX.value,
    )
    return Statement(
        dialect,
        update(legs).where(*mine, ~named).values(callee_sealed=bindparam("caller_sealed")),
    )
