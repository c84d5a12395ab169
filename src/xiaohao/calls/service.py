"""What can be done with calls: the switch writes them, customers and the operator read them."""

from xiaohao.calls.journal import CallBegan, CallEnded, CallJournal, CallMoved, Change, JournalWriter

__all__ = ["CallBegan", "CallEnded", "CallJournal", "CallMoved", "Change", "JournalWriter"]
