"""Generated tables of `docs/benchmarks.md`: one function per benchmark turns its JSON into text."""
