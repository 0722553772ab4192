"""How good it is: the prequential harness over the kernels that serve, baselines, reports."""
