"""Alembic revisions: how the schema came to be, step by step."""
