"""Users' own files as data sets: read by DuckDB through a map of columns, checked, sorted, and kept in the cache."""
