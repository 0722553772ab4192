"""MovieLens 100K: ratings of films, small and well known; read from either of its two published formats."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hsnn.streaming.datasets.assemble import build_dataset, build_engagements, time_order
from hsnn.streaming.datasets.base import DataError, Dataset
from hsnn.streaming.schema.events import Feature

NAME = "ml-100k"

Rows = list[list[str]]

_YEAR = re.compile(r"\((\d{4})\)\s*$")
GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""Genres of the films, as both formats spell them."""


def read(folder: Path, limit: int | None = None) -> Dataset:
    """Read GroupLens' ``u.data``, ``u.item``, ``u.user``, or RecBole's ``ml-100k.inter``, ``.item``, ``.user``.

    A rating is an interaction ``rate`` with the stars as its value. Films arrive when they are first rated.

    Raises
    ------
    DataError
        `folder` has neither format, or a line cannot be read.
    """
    if (folder / "u.data").is_file():
        ratings, films, users = (
            _lines(folder / "u.data", "\t"),
            _grouplens_films(folder),
            _lines(folder / "u.user", "|"),
        )
    elif (folder / "ml-100k.inter").is_file():
        ratings, films, users = _atomic(folder, "inter"), _recbole_films(folder), _atomic(folder, "user")
    else:
        raise DataError(f"{folder} holds neither u.data nor ml-100k.inter; `hsnn data get {NAME}` fetches them")
    return _build(folder, ratings, films=films, users=users, limit=limit)


def _build(
    folder: Path, ratings: Rows, *, films: dict[str, dict[str, Feature]], users: Rows, limit: int | None
) -> Dataset:
    try:
        seconds = np.array([int(float(row[3])) for row in ratings], np.int64)
        stars = np.array([float(row[2]) for row in ratings], np.float32)
        user_features: dict[str, dict[str, Feature]] = {
            row[0]: {"age": f"{int(row[1]) // 10 * 10}s", "gender": row[2], "occupation": row[3]} for row in users
        }
    except (ValueError, IndexError) as error:
        raise DataError(
            f"a line of the ratings or users in {folder} cannot be read ({error}); fetch it again"
        ) from error
    order = time_order(seconds, limit)
    rows = [ratings[row] for row in order.tolist()]
    return build_dataset(
        NAME,
        build_engagements(
            ts=seconds[order] * 1000,
            user=[row[0] for row in rows],
            item=[row[1] for row in rows],
            action="rate",
            value=stars[order],
        ),
        item_features=films,
        user_features=user_features,
        titles={film: str(features["title"]) for film, features in films.items()},
    )


def _grouplens_films(folder: Path) -> dict[str, dict[str, Feature]]:
    films: dict[str, dict[str, Feature]] = {}
    for row in _lines(folder / "u.item", "|"):
        genres = [genre for genre, flag in zip(GENRES, row[5:], strict=False) if flag == "1"]
        films[row[0]] = _film(row[1].strip(), genres)
    return films


def _recbole_films(folder: Path) -> dict[str, dict[str, Feature]]:
    films: dict[str, dict[str, Feature]] = {}
    for film, title, year, genres in _atomic(folder, "item"):
        # RecBole splits the year off the title, and writes film 267 of GroupLens, "unknown", as "unkonwn".
        whole = "unknown" if title == "unkonwn" else f"{title} ({year})"
        films[film] = _film(whole, genres.split())
    return films


def _film(title: str, genres: list[str]) -> dict[str, Feature]:
    features: dict[str, Feature] = {"title": title, "genres": [*genres]}
    year = _YEAR.search(title)
    return {**features, "year": int(year[1])} if year else features


def _atomic(folder: Path, kind: str) -> Rows:
    return _lines(folder / f"ml-100k.{kind}", "\t", "utf-8")[1:]


def _lines(path: Path, separator: str, encoding: str = "latin-1") -> Rows:
    try:
        text = path.read_text(encoding)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch the data set again") from error
    return [line.split(separator) for line in text.split("\n") if line]
