"""What a long-running process sets or listens to: signals, garbage collector, GIL, failpoints."""
