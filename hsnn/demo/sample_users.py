"""Three users of the data set: what they did last, and what they are recommended now."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from hsnn.serving.api.client import Client
from hsnn.streaming.datasets.base import Dataset

_LAST = 4
_TOP = 5


class Person(NamedTuple):
    """A user with titles, newest first and best first."""

    user: str
    last: list[str]
    recommended: list[str]


def choose(data: Dataset, count: int = 3, least: int = 5) -> dict[str, list[str]]:
    """Users with at least `least` different items, who came last; their items, newest first.

    Where nobody has that many, those with the most.
    """
    items: dict[str, dict[str, None]] = defaultdict(dict)
    events = data.engagements
    for row in range(len(events) - 1, -1, -1):
        items[events.user[row]].setdefault(events.item[row])
    chosen = [user for user, seen in items.items() if len(seen) >= least][:count]
    if len(chosen) < count:
        chosen = sorted(items, key=lambda user: -len(items[user]))[:count]
    return {user: list(items[user]) for user in chosen}


def ask(data: Dataset, client: Client) -> list[Person]:
    """Ask the server for recommendations for three users; raises as `hsnn.serving.api.client.Client.retrieve` does."""
    people = []
    for user, items in choose(data).items():
        answer = client.retrieve(user, k=_TOP)
        people.append(Person(user, [data.title(i) for i in items[:_LAST]], [data.title(i) for i in answer.items]))
    return people
