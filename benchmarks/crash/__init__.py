"""The crash harness: a real trainer is killed again and again, and must end as one that nobody touched."""
