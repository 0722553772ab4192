"""Producers: data sets and commands appended to a log."""
