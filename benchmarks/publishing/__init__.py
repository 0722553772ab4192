"""What publishing costs: a version of planted items step by step, one operation after the other, beside raw pipelines."""
