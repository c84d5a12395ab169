"""What the allocation is asked for."""

from dataclasses import dataclass, field

from xiaohao.bindings.model import Mode
from xiaohao.bindings.modes import claim_of, takes_all


@dataclass(frozen=True, slots=True)
class Wish:
    """A reservation that was found in order, with all numbers canonical."""

    customer_id: str
    mode: Mode
    a: str | None = field(repr=False)
    b: str | None = field(repr=False)
    a_key: bytes | None = field(repr=False)
    b_key: bytes | None = field(repr=False)
    x: str | None
    y: str | None
    x_pool: str | None
    y_pool: str | None
    x_city: str | None = None
    y_city: str | None = None
    extension: str | None = None
    y_on_demand: bool = False
    reuse: bool = False
    #: of a pair that comes about on the spot: by which binding, and when that one ends
    parent_id: str | None = None
    latest_end: int | None = None

    @property
    def pair(self) -> tuple[str, bytes, bytes] | None:
        """What there is one live binding of; None where there is no B."""
        if self.a_key is None or self.b_key is None:
            return None
        return self.customer_id, self.a_key, self.b_key

    @property
    def pairs(self) -> list[tuple[str, bytes, bytes]]:
        """All pairs whose live binding stands in the way: in mode AXB also A and B the other way round."""
        if self.pair is None:
            return []
        customer_id, a_key, b_key = self.pair
        return [self.pair, *([(customer_id, b_key, a_key)] if self.mode is Mode.AXB else [])]

    @property
    def people(self) -> list[bytes]:
        """The keys of those who are known."""
        return [key for key in (self.a_key, self.b_key) if key is not None]

    @property
    def claim(self) -> bytes | None:
        """What `numbers.assigned_to_key` of the X is going to be."""
        return claim_of(self.mode, self.a_key)

    @property
    def takes_all(self) -> bool:
        """Whether nobody else's leg may be dialled on the X."""
        return takes_all(self.mode, self.y_on_demand)

    @property
    def has_y(self) -> bool:
        """Whether it gets a Y now."""
        return self.mode is Mode.AXYB and not self.y_on_demand
