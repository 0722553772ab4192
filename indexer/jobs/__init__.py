"""The scheduler's process: jobs, their runner, history and control."""
