"""Who looked at, or changed, what may only be touched for a reason."""
