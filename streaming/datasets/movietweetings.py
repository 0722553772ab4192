"""MovieTweetings: film ratings from tweets, a stream in which new films keep arriving."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hsnn.streaming.datasets.assemble import build_dataset, build_engagements, time_order
from hsnn.streaming.datasets.base import DataError, Dataset
from hsnn.streaming.schema.events import Feature

NAME = "movietweetings"

_YEAR = re.compile(r"\((\d{4})\)\s*$")


def read(folder: Path, limit: int | None = None) -> Dataset:
    """Read ``ratings.dat`` and ``movies.dat``; a rating (0 to 10) is an interaction ``rate`` with this value.

    ``users.dat`` holds Twitter ids and is not read.

    Raises
    ------
    DataError
        A file is missing, or a line of it cannot be read.
    """
    rows = _lines(folder / "ratings.dat")
    try:
        seconds = np.array([int(row[3]) for row in rows], np.int64)
        stars = np.array([float(row[2]) for row in rows], np.float32)
        films = {row[0]: _film(row[1], row[2]) for row in _lines(folder / "movies.dat")}
    except (ValueError, IndexError) as error:
        raise DataError(f"a line of a file in {folder} cannot be read ({error}); fetch it again") from error
    order = time_order(seconds, limit)
    users, items = ([rows[row][column] for row in order.tolist()] for column in (0, 1))
    return build_dataset(
        NAME,
        build_engagements(seconds[order] * 1000, users, items, action="rate", value=stars[order]),
        item_features=films,
        user_features={},
        titles={film: str(features["title"]) for film, features in films.items()},
    )


def _film(title: str, genres: str) -> dict[str, Feature]:
    features: dict[str, Feature] = {"title": title, "genres": [genre for genre in genres.split("|") if genre]}
    year = _YEAR.search(title)
    return {**features, "year": int(year[1])} if year else features


def _lines(path: Path) -> list[list[str]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); `hsnn data get {NAME}` says where to get it") from error
    return [line.split("::") for line in text.split("\n") if line]
