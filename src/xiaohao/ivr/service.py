"""Which dialogue a caller is led through: answered from memory, for the switch.

`load` is run again and again; what somebody changed is in force with the next run.
"""

import msgspec

from xiaohao.database.engine import Database
from xiaohao.ivr import store, wire
from xiaohao.ivr.builtin import AXE, BUILT_IN
from xiaohao.ivr.model import Graph, Occasion
from xiaohao.secrecy import Vault


class Dialogues:
    """The graphs of all customers, and which of them are chosen."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault
        self._known = 0
        self._graphs: dict[str, Graph] = dict(BUILT_IN)
        #: owner, occasion, pool and number → graph
        self._choices: dict[tuple[str, str, str, str], str] = {}

    async def load(self) -> None:
        """Bring what has changed into memory. Raises DatabaseUnavailable."""
        async with self._database.read() as connection:
            mark = await store.mark(connection)
            if mark == self._known:
                return
            graphs = await store.changed_graphs(connection, self._known)
            choices = await store.changed_choices(connection, self._known)
        for row in graphs:
            self._graphs.pop(row["id"], None)
            if row["document_sealed"] is not None:
                found = wire.read(msgspec.json.decode(self._vault.open(row["document_sealed"])))
                if isinstance(found, Graph):  # a rule may have come since it was checked
                    self._graphs[row["id"]] = found
        for row in choices:
            key = (row["owner"], row["occasion"], row["pool_id"], row["number"])
            if row["graph"] is None:
                self._choices.pop(key, None)
            else:
                self._choices[key] = row["graph"]
        self._known = mark

    def chosen(
        self, customer_id: str | None, pool_id: str | None, number: str, occasion: Occasion
    ) -> Graph | None:
        """The dialogue on an occasion: chosen for the number dialled, its pool, its customer, or for all.

        None: nothing is chosen. Who dials an X with extensions is asked by the built-in graph then.
        """
        for owner in (customer_id, ""):
            for pool, dialled in (("", number), (pool_id or "", ""), ("", "")):
                if owner is None:
                    continue
                chosen = self._choices.get((owner, occasion.value, pool, dialled))
                if chosen is not None and (graph := self._graphs.get(chosen)) is not None:
                    return graph
        return self._graphs[AXE] if occasion is Occasion.EXTENSION_NEEDED else None
