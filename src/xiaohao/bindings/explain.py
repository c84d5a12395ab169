"""What is said where no number is left."""

from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.bindings import allocation_store as store
from xiaohao.bindings.allocation import Exhausted, Wish
from xiaohao.bindings.model import Role
from xiaohao.clock import rfc3339
from xiaohao.errors import Refusal, conflict


async def explain(connection: AsyncConnection, wish: Wish, exhausted: Exhausted) -> Refusal:
    """The refusal that says how the pool stands. Legs of other customers are never told of."""
    of_x = exhausted.role is Role.A
    pool = await store.pool_figures(connection, exhausted.pool_id)
    # where there is no such person, the figures of nobody: no key is empty
    a = await store.leg_figures(connection, exhausted.pool_id, wish.customer_id, wish.a_key or b"")
    b = await store.leg_figures(connection, exhausted.pool_id, wish.customer_id, wish.b_key or b"")
    resting = a
    if of_x:
        resting = await store.leg_figures(connection, exhausted.pool_id, wish.customer_id, None)
    earliest = None if resting["earliest"] is None else rfc3339(resting["earliest"])
    if pool["usable"] == 0:
        detail = "The pool has no number that can be used."
    elif of_x:
        detail = "Every number of the pool is somebody's X, or collides with what A or B dial."
    else:
        detail = (
            "Every number of the pool is dialled by A already, or was a short while ago, or is somebody's X:"
            " X and Y need pools of their own."
        )
    if earliest is not None:
        detail += f" {resting['quarantined']} in quarantine, the first until {earliest}."
    return conflict(
        "number_pool_exhausted",
        "No number is free",
        detail,
        field="x_pool" if of_x else "y_pool",
        pool_id=exhausted.pool_id,
        total=pool["total"],
        usable=pool["usable"],
        assigned=pool["assigned"],
        in_use_by_a=a["live"],
        in_use_by_b=b["live"],
        in_quarantine=resting["quarantined"],
        earliest_quarantine_end=earliest,
    )
