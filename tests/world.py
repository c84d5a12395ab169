"""A small world for tests: customers with pools of numbers, people, and a clock that stands still."""

from dataclasses import dataclass, field

from xiaohao.bindings.model import Binding, Reservation
from xiaohao.bindings.service import Bindings
from xiaohao.clock import SECOND
from xiaohao.complaints.service import Complaints
from xiaohao.database.engine import Database
from xiaohao.numbers.model import Kind, NumberSpec, kind_of
from xiaohao.numbers.service import Numbers
from xiaohao.pools.model import Policy, Pool
from xiaohao.pools.service import Pools
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Customer
from xiaohao.tenants.service import Tenants
from xiaohao.verifications.service import Verifications

NOON = 1_795_492_800 * SECOND


@dataclass
class Clock:
    """Microseconds since the epoch, moved on by hand."""

    now: int = NOON

    def __call__(self) -> int:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


def person(place: int) -> str:
    """The real number of the n-th person."""
    return f"+86138{place:08}"


def x_number(place: int) -> str:
    """The n-th mobile number of the platform."""
    return f"+86139{place:08}"


def y_number(place: int) -> str:
    """The n-th landline number of the platform, in Beijing."""
    return f"+86106{place:07}"


def verified(number: str, pool_id: str | None = None, **wanted: object) -> NumberSpec:
    """A number whose real name, if it is a mobile one, is verified; `wanted`: further fields."""
    documents = ("archive 1",) if kind_of(number) is Kind.MOBILE else ()
    return NumberSpec(number, pool_id, documents=documents, **wanted)  # type: ignore[arg-type]


@dataclass
class World:
    """The services of one database under one clock."""

    database: Database
    vault: Vault
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.tenants = Tenants(self.database, self.vault, self.clock)
        self.numbers = Numbers(self.database, self.vault, self.clock)
        self.verifications = Verifications(self.database, self.vault, self.clock)
        self.complaints = Complaints(self.database, self.vault, self.clock)
        self.pools = Pools(self.database, self.vault, self.clock)
        self.bindings = Bindings(self.database, self.vault, self.clock)

    async def customer(self, name: str = "Ride") -> Customer:
        return await self.tenants.create_customer(name)

    async def pool(
        self, customer: Customer | None, recycle_s: int, numbers: list[str], **wanted: object
    ) -> Pool:
        """A pool with numbers in it; `wanted`: further fields of its policy."""
        policy = Policy(recycle_s=recycle_s, **wanted)  # type: ignore[arg-type]
        pool = await self.pools.create("pool", policy, customer.id if customer else None)
        await self.numbers.add_numbers([verified(number, pool.id) for number in numbers])
        return pool

    async def ride(self, xs: int = 3, ys: int = 3, x_recycle_s: int = 60, y_recycle_s: int = 600) -> "Ride":
        """A customer with a pool of X and a pool of Y, numbered from 1."""
        customer = await self.customer()
        x_pool = await self.pool(customer, x_recycle_s, [x_number(place) for place in range(1, xs + 1)])
        y_pool = await self.pool(customer, y_recycle_s, [y_number(place) for place in range(1, ys + 1)])
        return Ride(self, customer, x_pool, y_pool)


@dataclass
class Ride:
    """A ride-hailing company whose people are the persons of the world."""

    world: World
    customer: Customer
    x_pool: Pool
    y_pool: Pool

    async def reserve(self, a: int, b: int, **wanted: object) -> Binding:
        """Bind the a-th and the b-th person, with numbers of the pools unless `wanted` says otherwise."""
        usual = {"a": person(a), "b": person(b), "x_pool": self.x_pool.id, "y_pool": self.y_pool.id}
        reservation = Reservation(**{**usual, **wanted})  # type: ignore[arg-type]
        return await self.world.bindings.reserve(self.customer.id, reservation)

    async def release(self, binding: Binding) -> Binding:
        return await self.world.bindings.release(self.customer.id, binding.id)
