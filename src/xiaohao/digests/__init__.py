"""What both sides compare, so that no record is missing on either."""
