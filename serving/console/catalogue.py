"""Items and users of the mirror for people: searched, with titles and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from hsnn.serving.errors import UnknownIdError
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.search.inspection import describe_user
from hsnn.streaming.schema.events import Feature

TITLE_FEATURES = ("title", "name")
"""Features that are shown as an item's title, the first that it has."""

# Beginnings of the texts of a feature `image` that can be shown as a picture.
_PICTURES = ("https://", "http://", "/", "data:image/")

# Hits of a search: a list that a person looks through.
_HITS = 12

# Rows looked through before the mirror may change: some milliseconds, for so long an update waits.
_SEARCHED_AT_ONCE = 4096

# Rows that one search looks through, newest first: some hundred milliseconds of one core.
_MOST_SEARCHED = 500_000

# Items of one call for cards: the longest answer of a retrieval.
_MOST_CARDS = 1000

# Items whose features are looked at for the list of filters: enough for every frequent value.
_SAMPLED = 5000

# Values offered per feature: a list that a person looks through.
_VALUES = 40

# Items per value from which on a feature is offered as a filter: others are texts or numbers, each item its own.
_REPEATED = 3


def card(state: EpochState, row: int) -> dict[str, Any]:
    """Describe an item in a few fields: id, title, picture, features, node, and whether it is retrievable."""
    features = state.items.features.features(row)
    return {
        "id": state.items.ids.ids[row],
        "title": title_of(features),
        "image": image_of(features),
        "features": dict(features),
        "node": state.index.node(row),
        "retrievable": state.is_retrievable(row),
    }


def title_of(features: Mapping[str, Feature]) -> str | None:
    """Return the title among the features of an item; None without one.

    Examples
    --------
    >>> title_of({"genre": "war", "title": "Alien"}), title_of({"title": ""})
    ('Alien', None)
    """
    return next((str(features[name]) for name in TITLE_FEATURES if features.get(name)), None)


def image_of(features: Mapping[str, Feature]) -> str | None:
    """Return the address of an item's picture; None without one that a browser can show.

    Examples
    --------
    >>> image_of({"image": "https://shop.example/1.jpg"}), image_of({"image": "javascript:alert(1)"})
    ('https://shop.example/1.jpg', None)
    """
    image = features.get("image")
    return image if isinstance(image, str) and image.startswith(_PICTURES) else None


def cards(mirror: Mirror, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Describe items in their order; of an unknown one the id alone is said.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.reading():
        state = mirror.state
        rows = [(item, state.items.ids.row(item)) for item in ids[:_MOST_CARDS]]
        return [card(state, row) if row >= 0 else {"id": item, "title": None, "features": {}} for item, row in rows]


def search_items(mirror: Mirror, text: str) -> list[dict[str, Any]]:
    """Find retrievable items whose title or id contains `text`; without a text the newest ones.

    The rows are looked through without the lock, so that requests do not wait: an item may be missed while it changes.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    wanted = text.casefold()
    with mirror.reading():
        alive = np.flatnonzero(mirror.state.alive())[::-1][:_MOST_SEARCHED]
    rows: list[int] = []
    for start in range(0, len(alive), _SEARCHED_AT_ONCE):
        part = alive[start : start + _SEARCHED_AT_ONCE]
        with mirror.pinned():
            items = mirror.state.items
            part = part[part < len(items.ids)]  # of another epoch there may be fewer
            names = items.ids.ids.select(part)
            rows += [
                row
                for row, name in zip(part.tolist(), names, strict=True)
                if _contains(name, items.features.features(row), wanted)
            ]
        if len(rows) >= _HITS:
            break
    with mirror.reading():
        exact = mirror.state.items.ids.row(text)
        if exact >= 0:
            rows = [exact, *(row for row in rows if row != exact)]
        return [card(mirror.state, row) for row in rows[:_HITS]]


def search_users(mirror: Mirror, text: str) -> list[dict[str, Any]]:
    """Find users whose id begins with `text`; without a text those who came last, with how many items are known.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.reading():
        state = mirror.state
        histories, known = state.users.histories, len(state.users.ids)
        last = histories.times[:known].max(axis=1, initial=0) if known else np.zeros(0, np.int64)  # (users,)
        order = np.argsort(-last, kind="stable")[:_MOST_SEARCHED]
        parts = (order[start : start + _SEARCHED_AT_ONCE] for start in range(0, len(order), _SEARCHED_AT_ONCE))
        named = (
            (row, name)
            for part in parts
            for row, name in zip(part.tolist(), state.users.ids.ids.select(part), strict=True)
        )
        found = list(islice(((row, name) for row, name in named if name and name.startswith(text)), _HITS))
        return [
            {"id": name, "items": int((histories.items[row] >= 0).sum()), "last": int(last[row])} for row, name in found
        ]


def user_history(mirror: Mirror, user: str) -> dict[str, Any]:
    """Return what a user did last, newest first; an unknown user has done nothing.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    try:
        history = describe_user(mirror, user).history
    except UnknownIdError:
        return {"id": user, "known": False, "items": []}
    with mirror.reading():
        state = mirror.state
        rows = [(state.items.ids.row(past.item), past.last) for past in reversed(history)]
        return {"id": user, "known": True, "items": [card(state, row) | {"at": at} for row, at in rows if row >= 0]}


def describe_features(mirror: Mirror) -> dict[str, Any]:
    """Say what a person could filter and boost by, from the features of the newest items.

    Returns
    -------
    dict
        ``values`` has the most frequent values of every feature of which few are in use, ``ranges`` the least and the
        largest value of every number.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.reading():
        state = mirror.state
        rows = np.flatnonzero(state.alive())[::-1][:_SAMPLED].tolist()
        features = [state.items.features.features(row) for row in rows]
    counts: dict[str, dict[Any, int]] = {}
    for item in features:
        for name, value in item.items():
            for single in value if isinstance(value, list) else [value]:
                counts.setdefault(name, {}).setdefault(single, 0)
                counts[name][single] += 1
    return {
        "values": {
            name: sorted(found, key=lambda value: (-found[value], str(value)))[:_VALUES]
            for name, found in sorted(counts.items())
            if name not in TITLE_FEATURES and sum(found.values()) > _REPEATED * len(found)
        },
        "ranges": {
            name: [min(found), max(found)]
            for name, found in sorted(counts.items())
            if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
        },
    }


def _contains(item: str, features: Mapping[str, Feature], wanted: str) -> bool:
    return wanted in item.casefold() or wanted in (title_of(features) or "").casefold()
