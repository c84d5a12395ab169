"""Requests to servers of customers: a small HTTP client, where it may connect to, and what signs it."""
