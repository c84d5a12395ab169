"""Real names: of mobile numbers of the platform, and of the people behind A. References to documents only."""
