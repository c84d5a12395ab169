"""The path of a call, and its SIP messages."""
