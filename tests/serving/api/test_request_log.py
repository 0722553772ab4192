"""The request log on a disk that is full: answers go on, lines are left out whole, counted and said."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path

import pytest

from hsnn.serving.api.request_log import RequestLog
from hsnn.serving.schema import Answer, Request


class Exchange:
    """A request and its answer with what the log reads of them."""

    user, mode, as_of, version, items, recommendation_id = "u", "beam", 5, 1, ("a", "b"), "r"
    propensities, arm, index = None, "", ""


EXCHANGE: tuple[Request, Answer] = (Exchange(), Exchange())  # type: ignore[assignment]


def test_a_full_disk_costs_lines_and_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    lost: list[int] = []
    log = RequestLog(Path("/dev/full"), lost.append)
    with caplog.at_level(logging.ERROR):
        log.append([EXCHANGE, EXCHANGE])
        log.append([EXCHANGE])
    assert lost == [2, 1]
    assert [record.getMessage() for record in caplog.records if record.name.startswith("hsnn.")] == [
        "answers are not logged in /dev/full: [Errno 28] No space left on device; make room there"
    ]
    log.close()


class FillingFile:
    """A file whose disk is full after some bytes, until there is room again."""

    def __init__(self, file, room: int) -> None:
        self._file, self.room = file, room

    def write(self, text: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written: int = self._file.write(text[: self.room])
        self.room -= written
        return written

    def __getattr__(self, name: str):
        return getattr(self._file, name)


def test_half_a_line_is_removed_and_logging_goes_on_when_there_is_room(tmp_path: Path) -> None:
    lost: list[int] = []
    log = RequestLog(tmp_path / "answers.jsonl", lost.append)
    log._file = FillingFile(log._file, 150)  # type: ignore[assignment]
    for _ in range(3):
        log.append([EXCHANGE])
    log._file.room = 10_000  # type: ignore[attr-defined]
    log.append([EXCHANGE])
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_bytes().splitlines()]
    assert len(lines) + sum(lost) == 4
    assert lost
    assert all(line["items"] == ["a", "b"] for line in lines)
