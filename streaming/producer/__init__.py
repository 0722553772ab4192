"""Events and commands appended to a log."""
