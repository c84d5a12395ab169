"""Who is behind a number, now and at any moment of the past."""
