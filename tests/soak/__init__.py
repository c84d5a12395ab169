"""Chaos: calls that go on while everything around them is killed, stopped, filled and cut off."""
