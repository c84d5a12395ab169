"""Dialogues with a caller as data: announcement graphs, and their interpreter."""
