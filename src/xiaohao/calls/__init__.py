"""A call's facts: its states, its reasons, its CDR."""
