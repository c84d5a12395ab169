"""How many numbers are needed: computed, simulated, drawn, and watched while the platform runs (R16)."""
