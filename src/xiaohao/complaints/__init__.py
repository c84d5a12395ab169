"""Complaints about numbers of the platform, and the rest that too many of them bring."""
