"""Chaos run: a whole loop under random disruptions, what an operator sees of each, and what is left at the end."""
