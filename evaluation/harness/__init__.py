"""Prequential harness: every method answers the sampled queries of a batch before the batch is learned."""
