"""The command line `hsnn`."""
