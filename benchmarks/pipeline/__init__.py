"""The way from the log to the gradient step, against the step alone."""
