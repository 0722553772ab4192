"""Crash test: a real trainer is killed again and again and must end bit for bit like one that was not."""
