"""Programs that measure: each is a package, run from the root of the clone as ``python -m benchmarks.NAME``."""
