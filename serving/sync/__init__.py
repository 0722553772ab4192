"""Synchronisation of the mirror with Redis: follower, preloading of versions, warm-up."""
