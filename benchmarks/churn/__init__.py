"""The churn benchmark's parts: a planted world, the system and its peers behind one contract, and the protocol."""
