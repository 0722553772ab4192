"""Data-parallel training: each worker reads its own partitions, and all train the same steps.

Every worker holds the whole state and computes everything but the gradients on the merged batches, so that all states
are bit-identical. Gradients are sharded: each worker scores its shard of a step's queries, and the sums are reduced.
"""
