"""Checkpoints: copied, written, verified, read and compared."""
