"""Three users with their titles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hsnn.demo.sample_users import query_sample_users, select_users
from hsnn.streaming.datasets import load


class Answering:
    def retrieve(self, user: str, **wishes: Any) -> Any:
        return type("Answer", (), {"items": ["1", "2", "unheard of"]})


def test_the_users_who_came_last_with_several_items(films: Callable[[int], Path]) -> None:
    data = load(f"ml-100k:{films(500)}")
    chosen = select_users(data)
    assert len(chosen) == 3
    assert data.engagements.user[-1] in chosen
    for user, items in chosen.items():
        assert len(items) >= 5
        own = [i for u, i in zip(data.engagements.user, data.engagements.item, strict=True) if u == user]
        assert items[0] == own[-1]
        assert set(items) == set(own)
    people = query_sample_users(data, Answering())  # type: ignore[arg-type]
    assert people[0].recommended == ["Film 1 (1990)", "Film 2 (1990)", "item unheard of"]
    assert all(title.startswith("Film ") for person in people for title in person.last)
    assert len(people[0].last) == 4


def test_where_nobody_has_many_items_those_with_the_most(films: Callable[[int], Path]) -> None:
    data = load(f"ml-100k:{films(20)}")
    counts = [len(items) for items in select_users(data, least=1000).values()]
    assert len(counts) == 3
    assert counts == sorted(counts, reverse=True)
