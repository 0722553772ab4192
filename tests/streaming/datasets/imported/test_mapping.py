from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hsnn.streaming.datasets import DataError
from hsnn.streaming.datasets.imported.mapping import parse_map, read_map, render_map

EVENTS = {"user": "u", "item": "i", "ts": "t"}


def test_a_map_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = parse_map(
        {
            "events": [
                {**EVENTS, "action": "'view'", "context": {"wide screen": 'a "b"'}},
                {**EVENTS, "files": ["x*"]},
            ],
            "items": {
                "id": "sku",
                "features": {"price": "p", "tags": "t"},
                "numbers": ["price"],
                "lists": {"tags": "|"},
            },
        }
    )
    (tmp_path / "map.toml").write_text(render_map(found))
    assert read_map(tmp_path / "map.toml") == found


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "no table"),
        ({"items": {"id": "a"}}, "no table"),
        ({"events": {"user": "u", "item": "i"}}, "lacks ts"),
        ({"events": {**EVENTS, "title": "t"}}, "no field title"),
        ({"events": {**EVENTS, "colour": "t"}}, "colour"),
        ({"orders": EVENTS}, "orders"),
        ({"events": EVENTS, "items": {"id": "a", "numbers": ["price"]}}, "price in numbers or lists"),
        ({"events": {**EVENTS, "user": 3}}, "int"),
    ],
)
def test_wrong_maps_are_explained(values: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError, match=text):
        parse_map(values)


def test_a_map_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "map.toml"
    with pytest.raises(DataError, match=r"map\.toml"):
        read_map(path)
    path.write_text("[events\n")
    with pytest.raises(DataError, match=r"map\.toml"):
        read_map(path)
