"""The training process (`hsnn train`): the loop from the event log to checkpoints and Redis."""
