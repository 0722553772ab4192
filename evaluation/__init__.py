"""Offline evaluation: prequential harness over the serving kernels, baselines, metrics, reports."""
