"""Retrieval quality, offline: data sets x variants x seeds."""
