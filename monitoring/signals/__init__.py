"""Signals of drift, one module per part of the system: it declares a group as `GROUP`, and the trainer finds it."""
