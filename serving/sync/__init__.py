"""The mirror kept up to date with Redis."""
