"""What callers hear: prompts, the default set, and which one is played to whom."""
