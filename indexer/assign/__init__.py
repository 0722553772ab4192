"""Items to leaves: assignment, capacity, placement, the live catalogue."""
