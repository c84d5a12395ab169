"""The customer hears what happened: outbox, delivery, signatures."""
