"""Ranks, the run that holds them, and figures computed from them."""
