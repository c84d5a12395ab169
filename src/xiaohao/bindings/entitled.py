"""Whether a customer may bind at all: that it is there and pays, its pools, its people's real names."""

from xiaohao.bindings.desk import Desk
from xiaohao.bindings.wish import Wish
from xiaohao.errors import Refusal, conflict, not_found
from xiaohao.tenants.model import CustomerState


def check_owner(desk: Desk, wish: Wish) -> None:
    """Raises Refusal: `not_found`, `credit_exhausted`, `customer_suspended`, `pool_not_found`,
    `person_not_verified`.
    """
    customer = desk.customer(wish.customer_id)
    if customer is None:
        raise not_found("customer")
    if customer.state == CustomerState.EXHAUSTED:
        raise Refusal(
            "credit_exhausted", "Credit used up", "The money, or the month's limit, is used up.", 403
        )
    if customer.state != CustomerState.ACTIVE:
        raise Refusal("customer_suspended", "Customer suspended", "Ask the operator of the platform.", 403)
    for name, pool_id in (("x_pool", wish.x_pool), ("y_pool", wish.y_pool)):
        if pool_id is None:
            continue
        pool = desk.pool(pool_id)
        if pool is None or pool.customer_id not in (None, wish.customer_id):
            raise Refusal("pool_not_found", "No such pool", "There is no such pool.", 404, {"field": name})
    if customer.real_names and wish.a_key is not None and not desk.is_verified(wish.customer_id, wish.a_key):
        # Carriers block the calls of people whom they do not know: better said now than then.
        detail = "The real name of A has not been verified, or its verification is over."
        raise conflict("person_not_verified", "Person not verified", detail, field="a")
