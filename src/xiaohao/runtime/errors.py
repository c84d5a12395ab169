"""Errors whose text is all that an operator needs: the command line shows it without a traceback."""


class SupervisorError(Exception):
    """The platform cannot be started, and why: another one is there, a program is missing, it crashes."""


class ChoreFailed(Exception):
    """A command could not do its work, and why."""
