"""Decides each call, keeps its state, writes its events and its CDR."""
