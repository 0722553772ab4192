"""The command group `hsnn data`."""
