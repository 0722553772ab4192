"""The console at ``/console``: what its pages show, the last day's figures, and what an operator can do there."""
