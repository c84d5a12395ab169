"""What can go wrong with the database itself. None of it carries data of a request."""


class DatabaseUnavailable(Exception):
    """The database is locked or away: the same request may succeed later. Carries no data of the request."""


class TransactionLost(DatabaseUnavailable):
    """The server rolled the transaction back in favour of another one: worth another try at once."""


class MasterKeyChanging(DatabaseUnavailable):
    """Everything in the database is just being sealed anew: nobody else may work on it."""


class WrongMasterKey(DatabaseUnavailable):
    """What is in the database was sealed with another master key than this process has."""


class DatabaseInUse(Exception):
    """Somebody works on the database who must not while it is sealed anew."""
