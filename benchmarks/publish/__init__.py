"""Publish benchmark: a version of planted items step by step, single operations, and raw pipelines."""
