"""Ids as the trainer keeps them: text to rows and back, in arrays, and who may have a row for how long."""
