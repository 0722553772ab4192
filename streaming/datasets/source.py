"""What is known about a data set before it is read."""

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
        As users write it.
    summary
        One line.
    terms
        Licence or terms of use, in short.
    homepage
        The publisher's page.
    obtain
        How to get the files, and which of them are read.
    read
        Folder and limit (engagement events from the start; None: all) to data set.
    fetch
        Fills an empty folder with the verified files; None where users must fetch them themselves.
    """

    name: str
    summary: str
    terms: str
    homepage: str
    obtain: str
    read: Callable[[Path, int | None], Dataset]
    fetch: Callable[[Path], None] | None = None
