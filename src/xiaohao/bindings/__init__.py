"""Who may be connected to whom, showing what, until when."""
