"""Text of SQL statements, and the connection to DuckDB that executes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

# Memory that DuckDB may use; what does not fit is spilled into the work folder. With Python beside it, imports of any
# size stay below 2 GB.
_MEMORY = "1GB"


class ImportDatabase:
    """A database in a folder, for the time of one import.

    Parameters
    ----------
    work
        Folder of the database, and of what does not fit into memory.
    """

    error = duckdb.Error

    def __init__(self, work: Path) -> None:
        self.work = work
        self._con = duckdb.connect(str(work / "import.duckdb"))
        self.execute(f"SET memory_limit = '{_MEMORY}'")
        self.execute(f"SET temp_directory = {literal(work / 'spill')}")
        self.execute("SET enable_progress_bar = false")
        self.execute("SET autoinstall_known_extensions = false")
        self.set_timezone("UTC")

    def set_timezone(self, name: str) -> None:
        """Set the zone of times that have none."""
        self.execute(f"SET TimeZone = {literal(name)}")

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute one statement and return its rows, which must be few."""
        rows: list[tuple[Any, ...]] = self._con.execute(statement).fetchall()
        return rows

    def first(self, query: str) -> tuple[Any, ...] | None:
        """Return the first row of a query; None if it has none."""
        return next(iter(self.execute(query)), None)

    def register(self, name: str, table: Any) -> None:
        """Make an Arrow table or data set known as a view."""
        self._con.register(name, table)

    def close(self) -> None:
        """Close the database."""
        self._con.close()


def identifier(name: str) -> str:
    """Write a name as an SQL identifier.

    Examples
    --------
    >>> identifier("price in EUR")
    '"price in EUR"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """Write a value as an SQL text.

    Examples
    --------
    >>> literal("it's")
    "'it''s'"
    """
    return "'" + str(value).replace("'", "''") + "'"
