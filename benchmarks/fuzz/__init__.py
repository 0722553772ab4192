"""Parts of `benchmarks.fuzz`."""
