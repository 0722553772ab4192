"""Items into the hierarchy in Redis: store, assignment, scheduler jobs, versions."""
