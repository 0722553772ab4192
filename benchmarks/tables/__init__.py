"""Tables of `docs/benchmarks.md`: a function makes the text of one from the JSON that a benchmark wrote."""
