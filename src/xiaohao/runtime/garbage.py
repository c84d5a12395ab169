"""Python's search for cycles of garbage, which finds hardly any here and takes its time."""

import gc


def put_off() -> None:
    """Look for none until `keep_what_is_there`: a fifth of a process's start went into it."""
    gc.disable()


def keep_what_is_there(objects_more: int = 20_000) -> None:
    """What there is now stays and is never looked through again; the rest is after so many new objects."""
    gc.freeze()
    gc.set_threshold(objects_more, 20, 20)
    gc.enable()
