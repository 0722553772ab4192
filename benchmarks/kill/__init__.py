"""Kill test: schedulers, server and Redis are killed at random while the index changes."""
