"""Which prompt is played: answered from memory, for the switch.

`load` is run again and again; what somebody changed is in force with the next run. `chosen` never waits and
never raises into a call.
"""

from pathlib import Path

from xiaohao.database.engine import Database
from xiaohao.prompts.model import Prompt


class Prompts:
    """The prompts of all customers, and the default set, as this machine has them in its `folder`."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database, self._folder = database, folder

    async def load(self) -> None:
        """Bring what has changed into memory and onto this machine. Raises DatabaseUnavailable."""

    def chosen(
        self, customer_id: str | None, pool_id: str | None, binding_id: str | None, wanted: str
    ) -> Prompt | None:
        """The prompt for a situation, or the one of that name or id.

        A situation's is looked for at the binding, the pool, the customer, the platform, and in the default
        set; a name (or `prm_…`) among the customer's own and those that the operator shares. None: there is
        none.
        """
        return None
