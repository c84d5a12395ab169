"""Numbers for one purpose, and the policy by which they are given out."""
