"""The scheduler's jobs, one module each: it declares one as `JOB`, and the scheduler finds it."""
