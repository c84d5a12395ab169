"""What the writer is asked to do with bindings. A job is plain data; `clerk.Clerk` carries it out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from xiaohao.bindings.choice import Found
from xiaohao.bindings.model import Binding, Reservation
from xiaohao.bindings.wish import Wish
from xiaohao.bindings.writing_store import BindingRow


@dataclass(frozen=True, slots=True)
class Reserve:
    """Let pairs call each other. Result: of each wish what `Clerk.reserved` reads."""

    wishes: Sequence[tuple[Wish, Reservation]] = field(repr=False)

    @property
    def weight(self) -> int:
        """See `database.writer.Job`."""
        return len(self.wishes)


@dataclass(frozen=True, slots=True)
class Reserved:
    """A binding, and whether it is a new one."""

    binding: Binding
    fresh: bool


@dataclass(frozen=True, slots=True)
class Decide:
    """Say what a reservation would come to, and write nothing. Result: a Decision, or what refuses it."""

    wish: Wish = field(repr=False)
    wanted: Reservation = field(repr=False)
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """The numbers of a new binding, or the row of the pair's live one."""

    x: Found | None = None
    y: Found | None = None
    extension: str | None = None
    existing: BindingRow | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Release:
    """End bindings of a customer. Result: of each id the Binding, or the Refusal."""

    customer_id: str
    ids: Sequence[str]
    #: end their live calls, too
    hang_up: bool = False

    @property
    def weight(self) -> int:
        """See `database.writer.Job`."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class GiveY:
    """Bind whoever dials the X of a binding with `y_on_demand`. Result: the X of the two, None where none, or
    what refuses it.
    """

    parent_id: str
    caller: str = field(repr=False)
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Expire:
    """End at most `limit` bindings whose time was up at `moment`. Result: how many."""

    moment: int
    limit: int
    weight: int = 100


@dataclass(frozen=True, slots=True)
class Purge:
    """Let go of at most `limit` keys whose quarantine was over at `moment`. Result: how many."""

    moment: int
    limit: int
    weight: int = 100


def transactions(jobs: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Jobs in their order, cut where PostgreSQL needs a new transaction.

    Many reservations, or releases, take all their locks in one order. A job of another kind would take its
    own behind theirs, and wait for somebody who waits for it.
    """
    for kind, same in groupby(jobs, type):
        if kind in (Reserve, Release):
            yield list(same)
        else:
            yield from ([job] for job in same)
