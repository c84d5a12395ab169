"""The terms of billing: what is known of a call, what of it is measured, and what a bill says.

Amounts are millionths of the currency (see `money.py`), times microseconds since the epoch, months and days
as in `calendar.py`.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from xiaohao.billing.terms import ServiceItem
from xiaohao.numbers.model import Kind


class Cdr(msgspec.Struct, frozen=True, gc=False):
    """What a price depends on of a call that has ended. `order_ref` and the id only name it."""

    call_id: str
    received_at: int
    ringing_at: int | None
    answered_at: int | None
    ended_at: int
    dialled: str
    displayed: str | None
    reason: str
    order_ref: str | None
    recorded: bool
    acd_ms: int = 0


class Usage(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is charged of a call, or of one leg or one month of it: quantities, no prices.

    `part` tells the usages of one call apart. `calls`, `protections` and `recordings` are 0 or 1: they are
    counted in one part only. `seconds` and `acd_s` are whole units of the contract.
    """

    call_id: str
    part: int
    month: int
    day: int
    at: int
    number: str
    kind: Kind
    application: str | None
    order_ref: str | None
    calls: int
    seconds: int
    acd_s: int
    protections: int
    recordings: int


class Portion(msgspec.Struct, frozen=True, gc=False):
    """So many seconds at one price a minute."""

    price: int
    seconds: int
    amount: int


class Charged(msgspec.Struct, frozen=True, gc=False):
    """What a usage costs. `unpriced` seconds are of a kind of number that the contract has no price for."""

    included_s: int
    unpriced_s: int
    portions: tuple[Portion, ...]
    acd: int
    protection: int
    recording: int

    @property
    def minutes(self) -> int:
        """What the minutes cost."""
        return sum(portion.amount for portion in self.portions)

    @property
    def total(self) -> int:
        """What all of it costs."""
        return self.minutes + self.acd + self.protection + self.recording


class Tenure(msgspec.Struct, frozen=True):
    """A number that a customer has, from `since` until `until` (None: still)."""

    number: str
    kind: Kind
    application: str | None
    since: int
    until: int | None


class Entry(msgspec.Struct, frozen=True):
    """Something entered by hand: so many prompts, person-days, visits, or a correction."""

    id: str
    item: ServiceItem
    quantity: Decimal
    price: Decimal
    note: str


class Line(msgspec.Struct, frozen=True):
    """A line of a bill: the charges of one item at one price. `kind` None: not of a kind of number.

    `quantity` is in seconds where `unit` is `minute`, else in pieces; both as exact text where by hand.
    `note` is what people wrote, or English; then `about` has what it says, for other languages.
    """

    item: str
    kind: str | None
    unit: str | None
    quantity: str | None
    price: str | None
    amount: int
    note: str | None = None
    about: dict[str, str] | None = None


class NumberSum(msgspec.Struct):
    """What a number has cost in a month, by item."""

    application: str | None
    kind: Kind
    number: str
    calls: int = 0
    seconds: int = 0
    included_s: int = 0
    acd_s: int = 0
    protections: int = 0
    recordings: int = 0
    rent: int = 0
    minutes: int = 0
    acd: int = 0
    number_protection: int = 0
    recording: int = 0

    @property
    def total(self) -> int:
        """What all of it costs."""
        return self.rent + self.minutes + self.acd + self.number_protection + self.recording


class DaySum(msgspec.Struct):
    """What was used on a day. `amount` is without rents, which belong to no day."""

    day: int
    calls: int = 0
    seconds: int = 0
    amount: int = 0


class Bill(msgspec.Struct, frozen=True):
    """A month of a customer. `total` is the sum of the lines; `net` and `vat` make `gross`."""

    month: int
    currency: str
    lines: list[Line]
    numbers: list[NumberSum]
    days: list[DaySum]
    total: int
    net: int
    vat_percent: Decimal
    vat: int
    gross: int


class InvoiceKind(StrEnum):
    """What a document is."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class InvoiceState(StrEnum):
    """How far a document has come. Its contents never change once it is issued."""

    DRAFT = "draft"
    ISSUED = "issued"
    PAID = "paid"
    VOID = "void"
