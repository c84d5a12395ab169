"""Which prompt a call that ends is given."""

from pathlib import Path
from typing import cast

from xiaohao.announcer.media import Player
from xiaohao.announcer.speech import Speech
from xiaohao.calls.model import Call, Reason
from xiaohao.prompts.model import Prompt

_THERE = {"customer_announced", "order is over"}


class Shelf:
    """Two prompts, each of the name that was asked for."""

    def chosen(
        self, _customer: str | None, _pool: str | None, _own: str | None, wanted: str
    ) -> Prompt | None:
        return cast(Prompt, Path(wanted)) if wanted in _THERE else None


async def test_a_name_that_is_not_there_leaves_nobody_in_silence() -> None:
    speech = Speech(Shelf(), cast(Player, None), on=True)
    call = Call("id", "edge", 0, "+861062000001")
    for name, heard in (
        ("order is over", "order is over"),
        ("deleted", "customer_announced"),
        (None, "customer_announced"),
        ("none", None),
    ):
        found = speech.prompt_of(call, Reason.CUSTOMER_ANNOUNCED, name)
        assert (None if found is None else str(found)) == heard
