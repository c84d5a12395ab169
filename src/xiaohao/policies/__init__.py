"""Rules by which calls are refused that could be connected: lists, limits, hours, destinations, fraud."""
