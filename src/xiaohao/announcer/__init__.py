"""What callers hear: the user agent that calls are sent to before, instead of and after their callee."""
