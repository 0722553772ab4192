"""Several processes on one port: a supervisor that starts workers and replaces them, and what the workers share."""
