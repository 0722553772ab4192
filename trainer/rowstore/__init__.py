"""Arrays with a row per item or user: growth, dirty rows, write barrier, copy-on-write."""
