"""Carrier trunks as data."""
