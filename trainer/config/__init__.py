"""The part of the configuration that `trainer` owns."""
