"""`Source`: description and reader of a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hsnn.streaming.datasets.base import Dataset


@dataclass(frozen=True, slots=True)
class Source:
    """One data set that `hsnn` can read.

    Attributes
    ----------
    name
        Name in options and configuration.
    summary
        One line.
    terms
        Licence or terms of use, in short.
    homepage
        The publisher's page.
    obtain
        How to get the files, and which files are read.
    read
        Reads the data set from a folder, with a limit (engagement events from the start; None: all).
    fetch
        Fills an empty folder with the verified files; None if users must fetch them themselves.
    """

    name: str
    summary: str
    terms: str
    homepage: str
    obtain: str
    read: Callable[[Path, int | None], Dataset]
    fetch: Callable[[Path], None] | None = None
