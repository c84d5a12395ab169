"""Scheme 2: the customer decides each call."""
