"""Events over HTTP: bodies parsed into records, and appended durably to the log."""
