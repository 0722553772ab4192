"""Figures computed from the ranks of a run."""
