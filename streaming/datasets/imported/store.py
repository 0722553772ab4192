"""An imported data set on disk: Parquet files in order of time and a description; read back as a `Dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hsnn.streaming.datasets.assemble import build_engagements, dictionary_codes
from hsnn.streaming.datasets.base import DataError, Dataset, Impressions
from hsnn.streaming.datasets.imported.report import ImportReport
from hsnn.streaming.datasets.source import Source
from hsnn.streaming.schema.contexts import Context, ContextDecoder
from hsnn.streaming.schema.events import Feature, Item, Scalar, User

DESCRIPTION = "dataset.json"
"""File that makes a folder an imported data set; written last."""

EVENTS, ITEMS, USERS, IMPRESSIONS = "events.parquet", "items.parquet", "users.parquet", "impressions.parquet"
"""Files of a data set; users and impressions may have no rows."""

FORMAT = 1
"""Of the files; a reader refuses others."""


class Description(msgspec.Struct, kw_only=True, frozen=True):
    """What `DESCRIPTION` holds.

    Attributes
    ----------
    name
        Name of the data set.
    sources
        Names of the files that it was made of.
    """

    format: int
    name: str
    sources: list[str]
    report: ImportReport


def write_description(folder: Path, description: Description) -> None:
    """Write the description of a data set."""
    (folder / DESCRIPTION).write_bytes(msgspec.json.format(msgspec.json.encode(description)))


def read_description(folder: Path) -> Description:
    """Read the description of a data set.

    Raises
    ------
    DataError
        The folder holds no imported data set, or one of another format.
    """
    try:
        found = msgspec.json.decode((folder / DESCRIPTION).read_bytes(), type=Description)
    except OSError as error:
        raise DataError(f"{folder} holds no imported data set: {error.strerror}; import it again") from error
    except msgspec.DecodeError as error:
        raise DataError(f"{folder / DESCRIPTION} cannot be read ({error}); import the data set again") from error
    if found.format != FORMAT:
        raise DataError(f"{folder} has format {found.format}, this release reads {FORMAT}; import the data set again")
    return found


def stored_source(name: str, folder: Path) -> Source | None:
    """Return the source of an imported data set; None if the folder holds none."""
    if not (folder / DESCRIPTION).is_file():
        return None
    description = read_description(folder)
    profile = description.report.profile
    return Source(
        name=name,
        summary=f"your own: {profile.events:,} events, {profile.items:,} items, {profile.users:,} users",
        terms="your own",
        homepage=", ".join(description.sources),
        obtain="`hsnn data import`",
        read=lambda place, limit: read_stored(place, limit),
    )


def read_stored(folder: Path, limit: int | None = None) -> Dataset:
    """Read an imported data set, or its first `limit` engagement events with the items and users known by then.

    Raises
    ------
    DataError
        A file is missing or damaged.
    """
    description = read_description(folder)
    try:
        events, shown, items, users = (pq.read_table(folder / file) for file in (EVENTS, IMPRESSIONS, ITEMS, USERS))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{folder} is damaged ({error}); import the data set again") from error
    sequence = _merge(events["ts"].to_numpy(), shown["ts"].to_numpy())[:limit]
    events = events.slice(0, int(np.count_nonzero(sequence >= 0)))
    shown = shown.slice(0, int(np.count_nonzero(sequence < 0)))
    impressions = _impressions(shown) if len(shown) else None
    end = _end(sequence, events, shown) if limit is not None else None
    return Dataset(
        name=description.name,
        engagements=build_engagements(
            events["ts"].to_numpy(),
            _texts(events["user"]),
            _texts(events["item"]),
            _texts(events["action"]),
            value=events["value"].to_numpy(),
            context=_contexts(events["context"]),
        ),
        items=_items(items, end),
        users=_users(users, end),
        titles={
            i: t for i, t in zip(items["id"].to_pylist(), items["title"].to_pylist(), strict=True) if t is not None
        },
        sequence=sequence,
        expire_after_idle=description.report.expire_after_idle,
        impressions=impressions,
        links=None if impressions is None else events["link"].to_numpy(),
    )


def _merge(events: NDArray[np.int64], shown: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `Dataset.sequence`: at equal times what was shown comes before what was done."""
    rows = np.concatenate([np.arange(len(events)), -1 - np.arange(len(shown))])
    kinds = np.repeat([1, 0], [len(events), len(shown)])
    return rows[np.lexsort((kinds, np.concatenate([events, shown])))].astype(np.int64)


def _end(sequence: NDArray[np.int64], events: Any, shown: Any) -> int:
    last = int(sequence[-1])
    return int(events["ts"][last].as_py() if last >= 0 else shown["ts"][-1 - last].as_py())


def _impressions(shown: Any) -> Impressions:
    return Impressions(
        ts=shown["ts"].to_numpy(),
        user=_texts(shown["user"]),
        items=shown["items"].to_pylist(),
        context=_contexts(shown["context"]),
    )


def _texts(column: Any) -> list[str]:
    """Return the texts of a column; equal rows share one object."""
    codes, values = dictionary_codes(column)
    return list(map(values.__getitem__, codes.tolist()))


def _contexts(column: Any) -> list[Context]:
    codes, values = dictionary_codes(column)
    decoded: list[Context] = [_context(value) for value in values]
    return list(map(decoded.__getitem__, codes.tolist()))


def _context(text: str | None) -> Context:
    if text is None:
        return None
    known: dict[str, Scalar] = {
        name: value for name, value in (_decoder.decode([text])[0] or {}).items() if value is not None
    }
    return known or None


_decoder: ContextDecoder[str] = ContextDecoder()


def _items(table: Any, end: int | None) -> list[Item]:
    made = []
    for row in table.to_pylist():
        if end is None or row["ts"] <= end:
            ends = {name: row[name] for name in ("available_from", "expires_at") if row[name] is not None}
            made.append(Item(id=row["id"], ts=row["ts"], features=_features(row["features"], row["title"]), **ends))
    return made


def _users(table: Any, end: int | None) -> list[User]:
    return [
        User(id=row["id"], ts=row["ts"], features=_features(row["features"], None))
        for row in table.to_pylist()
        if end is None or row["ts"] <= end
    ]


def _features(text: str | None, title: str | None) -> dict[str, Feature]:
    known: dict[str, Any] = {} if text is None else msgspec.json.decode(text)
    found: dict[str, Feature] = {} if title is None else {"title": title}
    for name, value in known.items():
        if isinstance(value, list):
            entries: list[Scalar] = [entry for entry in value if isinstance(entry, str | int | float)]
            if entries:
                found[name] = entries
        elif isinstance(value, str | int | float):
            found[name] = value
    return found
