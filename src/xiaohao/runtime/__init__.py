"""Starts and watches the processes of the platform."""
