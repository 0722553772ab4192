from __future__ import annotations

import json

import pytest

from hsnn.streaming.dead_letters.editing import as_lines, read_edited
from hsnn.streaming.dead_letters.reader import StoredDeadLetter
from hsnn.streaming.errors import EditingError
from hsnn.streaming.log.records import Record

VALUES = [
    b'{"type": "interaction",  "ts": "yesterday"}',
    b"{half",
    "Müll\n".encode("latin-1"),
    None,
    b"",
    b'"caf\xc3\xa9"',
]


def letter(number: int, value: bytes | None) -> StoredDeadLetter:
    record = Record("engagements.dlq", 0, number, b"k", value, headers=(), sent_at=0)
    return StoredDeadLetter(record, "engagements", 0, number, -1, "invalid", "ts is no number", 0)


LETTERS = [letter(number, value) for number, value in enumerate(VALUES)]


def test_what_is_not_changed_keeps_its_bytes():
    assert read_edited(as_lines(LETTERS), LETTERS) == {one.identity: one.record.value for one in LETTERS}


def test_changed_values_are_sent_and_deleted_lines_are_not():
    lines = as_lines(LETTERS).splitlines()
    json_line = next(line for line in lines if "yesterday" in line)
    text_line = next(line for line in lines if "{half" in line)
    edited = read_edited(
        json_line.replace('"yesterday"', "1700000000000") + "\n\n" + text_line.replace("{half", "whole"), LETTERS
    )
    first, second = edited.values()
    assert json.loads(first) == {"type": "interaction", "ts": 1_700_000_000_000}
    assert second == b"whole"
    assert [*edited] == [LETTERS[0].identity, LETTERS[1].identity]


@pytest.mark.parametrize("line", ["no json", "[]", '{"letter": "x", "value": 1}', '{"value": 1}', None])
def test_a_line_that_cannot_be_sent_is_named(line):
    line = line or json.dumps({"letter": LETTERS[0].identity})
    with pytest.raises(EditingError, match="line 2 "):
        read_edited(f"# help\n{line}\n", LETTERS)
