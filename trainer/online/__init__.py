"""The process `hsnn train`: the loop from the log to checkpoint and Redis."""
