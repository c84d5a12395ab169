"""A process that lets as many calls through as it can: `python -m tests.policies.claimers URL NAME`."""

import asyncio
import sys

from tests.world import NOON
from xiaohao.calls.model import Reason
from xiaohao.database.engine import Database
from xiaohao.policies.compiled import Limit
from xiaohao.policies.counting import Claim, Counters
from xiaohao.policies.decision import Counted
from xiaohao.policies.model import Every, Per, SetBy

CALLS, OF_THE_CALLER, AT_A_TIME = 40, 30, 25


def claim(call_id: str, serial: int) -> Claim:
    """A call of one caller and one of two customers' lines, all within a minute."""
    often = Limit("rul_1", Per.CALLER, OF_THE_CALLER, Every.HOUR)
    full = Limit("rul_2", Per.CUSTOMER, AT_A_TIME)
    hits = [Counted(b"caller".ljust(16), often, SetBy.CUSTOMER, Reason.CALLER_TOO_OFTEN)]
    subject = b"customer 1".ljust(16)
    seats = [Counted(subject, full, SetBy.CUSTOMER, Reason.CUSTOMER_CALLS_FULL)] if serial % 2 else []
    return Claim(call_id, NOON + serial, hits, seats)


async def main(url: str, name: str) -> None:
    """Say how many calls were let through, and how many of them took a line."""
    database = Database(url)
    counters = Counters(database)
    claims = [claim(f"{name}-{serial}", serial) for serial in range(CALLS)]
    sys.stdin.readline()
    found = await asyncio.gather(*map(counters.claim, claims))
    passed = [one for one, full in zip(claims, found, strict=True) if full is None]
    print(len(passed), sum(1 for one in passed if one.seats))
    await counters.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
