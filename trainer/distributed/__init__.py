"""Several trainer processes, one model: each reads its own partitions, all learn the same steps.

Every worker holds the whole state and computes everything that is no gradient on what all have read, so all states are
the same to the last bit. The gradients are split: each worker scores its part of a step's queries, the sums go round.
"""
