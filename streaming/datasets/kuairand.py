"""KuaiRand: impressions of short videos, each with the actions that followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.datasets import tables
from hsnn.streaming.datasets.assemble import (
    Features,
    build_contexts,
    build_dataset,
    build_engagements,
    time_order,
    to_text,
)
from hsnn.streaming.datasets.base import DataError, Dataset, Impressions
from hsnn.streaming.schema.batch import Engagements
from hsnn.streaming.schema.events import Feature

NAME = "kuairand"

# Actions by the columns that tell them, one line per impression.
_ACTIONS = {
    "is_click": "click",
    "long_view": "long_view",
    "is_like": "like",
    "is_follow": "follow",
    "is_comment": "comment",
    "is_forward": "forward",
    "is_profile_enter": "profile_enter",
    "is_hate": "hate",
}

# Columns that are read of the log, and of the videos.
_LOG = ("user_id", "video_id", "time_ms", "tab", *_ACTIONS)
_VIDEO = ("video_id", "author_id", "video_type", "upload_dt", "upload_type", "video_duration", "music_type", "tag")
# Columns on how active a user is are left out: when they were counted is unknown, so they may leak the future.
_USER = (
    "user_id",
    "is_live_streamer",
    "is_video_author",
    "follow_user_num_range",
    "fans_user_num_range",
    "friend_user_num_range",
    "register_days_range",
    *(f"onehot_feat{number}" for number in range(18)),
)


def read(folder: Path, limit: int | None = None) -> Dataset:
    """Read the log of impressions and the features of users and videos.

    Every row is an impression of one video. Each of its labels that is set gives an interaction that names the
    impression, at the impression's time (the source has no time of its own for an action), in the order of `_ACTIONS`.
    `limit` counts impressions and interactions.

    Raises
    ------
    DataError
        There is no log in `folder`, or a file lacks columns of the source.
    """
    paths = tables.find(folder, "standard_*", "log_standard*", "data/log_standard*")
    if not paths:
        raise DataError(
            f"{folder} holds no standard_* or log_standard* file; `hsnn data get {NAME}` says where to get it"
        )
    table = tables.drop_incomplete(tables.read(paths, _LOG), ("user_id", "video_id", "time_ms"), str(folder))
    table = table.take(time_order(table["time_ms"].to_numpy(), limit))
    labelled = np.stack([table[column].to_numpy() > 0 for column in _ACTIONS], axis=1)
    sequence, links, actions = _sequence(labelled, limit)
    impressions = _impressions(table.slice(0, int((sequence < 0).sum())))
    return build_dataset(
        NAME,
        _interactions(impressions, links, actions),
        item_features=_videos(folder),
        user_features=_users(folder),
        titles={},
        impressions=impressions,
        links=links,
        sequence=sequence,
    )


def _sequence(labelled: NDArray[np.bool_], limit: int | None) -> tuple[NDArray[np.int64], ...]:
    # Each row of `every` is an impression followed by its possible actions; actions that are not set drop out.
    n = len(labelled)
    every = np.concatenate([np.ones((n, 1), bool), labelled], axis=1)
    row, kind = np.nonzero(every)
    row, kind = row[:limit], kind[:limit]
    acted = kind > 0
    sequence = np.where(acted, np.cumsum(acted) - 1, -1 - row)
    return sequence.astype(np.int64), row[acted].astype(np.int64), (kind[acted] - 1).astype(np.int64)


def _impressions(table: Any) -> Impressions:
    videos = to_text(table["video_id"])
    return Impressions(
        ts=table["time_ms"].to_numpy().astype(np.int64),
        user=to_text(table["user_id"]),
        items=[[video] for video in videos],
        context=build_contexts({"tab": table["tab"]}),
    )


def _interactions(shown: Impressions, links: NDArray[np.int64], actions: NDArray[np.int64]) -> Engagements:
    names, rows = list(_ACTIONS.values()), links.tolist()
    return build_engagements(
        shown.ts[links],
        [shown.user[row] for row in rows],
        [shown.items[row][0] for row in rows],
        [names[action] for action in actions.tolist()],
        context=[shown.context[row] for row in rows],
    )


def _videos(folder: Path) -> Features:
    paths = tables.find(folder, "video_features_basic*", "data/video_features_basic*")
    if not paths:
        return {}
    rows = tables.read(paths, _VIDEO, text=("tag", "upload_dt")).to_pylist()
    return {str(row["video_id"]): _video(row) for row in rows}


def _video(row: dict[str, Any]) -> dict[str, Feature]:
    tags: Feature = [tag for tag in (row["tag"] or "").split(",") if tag]
    named = {
        "author": row["author_id"],
        "kind": row["video_type"],
        "upload": row["upload_type"],
        "music": row["music_type"],
    }
    features: dict[str, Feature] = {name: _category(value) for name, value in named.items() if value is not None}
    features |= {"tags": tags, "uploaded": str(row["upload_dt"])}
    seconds = row["video_duration"]
    return features if seconds is None else {**features, "seconds": float(seconds) / 1000}


def _users(folder: Path) -> Features:
    paths = tables.find(folder, "user_features*", "data/user_features*")
    if not paths:
        return {}
    rows = tables.read(paths, _USER).to_pylist()
    return {
        str(row.pop("user_id")): {name: _category(value) for name, value in row.items() if value is not None}
        for row in rows
    }


def _category(value: Any) -> Feature:
    # Categories are whole numbers that Parquet or CSV may hold as floats where some are missing.
    return str(int(value)) if isinstance(value, int | float) else str(value)
