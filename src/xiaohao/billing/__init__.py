"""Tariffs, rating and invoices: what a customer's calls and numbers cost, and how it came to the sum."""
