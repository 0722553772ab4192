"""Sample users of the data set: their last items, and their recommendations now."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from hsnn.serving.client.client import Client
from hsnn.streaming.datasets.base import Dataset

# Last items shown per user, and recommendations: the table fits a screen.
_LAST = 4
# See above.
_TOP = 5


class SampleUser(NamedTuple):
    """A user with the titles of the last items, newest first, and of recommendations, best first."""

    user: str
    last: list[str]
    recommended: list[str]


def select_users(data: Dataset, count: int = 3, least: int = 5) -> dict[str, list[str]]:
    """Select the users who came last among those with at least `least` different items; their items, newest first.

    If there are fewer than `count`, the users with the most items.
    """
    items: dict[str, dict[str, None]] = defaultdict(dict)
    events = data.engagements
    for row in range(len(events) - 1, -1, -1):
        items[events.user[row]].setdefault(events.item[row])
    chosen = [user for user, seen in items.items() if len(seen) >= least][:count]
    if len(chosen) < count:
        chosen = sorted(items, key=lambda user: -len(items[user]))[:count]
    return {user: list(items[user]) for user in chosen}


def query_sample_users(data: Dataset, client: Client) -> list[SampleUser]:
    """Query the server for recommendations of three users; raises as `hsnn.Client.retrieve` does."""
    people = []
    for user, items in select_users(data).items():
        answer = client.retrieve(user, k=_TOP)
        people.append(SampleUser(user, [data.title(i) for i in items[:_LAST]], [data.title(i) for i in answer.items]))
    return people
