"""Settings of a long-running process: signals, garbage collector, interpreter lock, failpoints."""
