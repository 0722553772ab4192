"""Configuration models of the trainer: model sizes, index learning, id limits."""
