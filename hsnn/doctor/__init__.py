"""Checks of `hsnn doctor` on the servers that the configuration points to."""
