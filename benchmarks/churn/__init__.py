"""Churn benchmark: planted data, the system and its peers behind one contract, and the protocol."""
