"""Times of requests: epoch milliseconds, and what they are taken for otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hsnn.serving.errors import RequestError
from hsnn.serving.schema import parse_request, parse_requests

MILLIS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"as_of": 1_700_000_000}, "`as_of` is 1700000000: it looks like seconds"),
        ({"as_of": "2023-11-14T22:13:20Z"}, "ISO 8601 text; write epoch milliseconds: 1700000000000"),
        ({"history": ["a", ["b", MILLIS], ["c", 1_700_000_000]]}, "`history[2]` is 1700000000: it looks like seconds"),
        ({"as_of": MILLIS, "history": ["a", ["b", MILLIS]]}, None),
        ({"as_of": 5, "history": [["b", 3]]}, None),
    ],
)
def test_times_in_another_unit_are_refused_with_the_unit(fields: dict[str, Any], words: str | None) -> None:
    body = json.dumps({"user": 7} | fields).encode()
    if words is None:
        assert parse_request(body).as_of == fields.get("as_of")
        return
    with pytest.raises(RequestError) as raised:
        parse_request(body)
    assert words in str(raised.value)


def test_of_several_queries_the_wrong_one_is_named() -> None:
    body = json.dumps({"queries": [{"user": 7}, {"user": 8, "as_of": 1_700_000_000}]}).encode()
    with pytest.raises(RequestError, match=r"queries\[1\]\.as_of"):
        parse_requests(body)


def test_a_damaged_body_with_a_wrong_time_is_refused() -> None:
    with pytest.raises(RequestError, match="as_of"):
        parse_request(b'{"user": 7, "as_of": "x", ?')
