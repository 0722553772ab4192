from __future__ import annotations

import json
import logging
import sys
from threading import Thread

from hsnn.monitoring.process.log_format import JsonFormatter, bound_ids, current_ids


def line(message: str, *arguments: object, **extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": message, "args": arguments, "levelname": "INFO", "name": "hsnn.x", **extra})
    text = JsonFormatter("serve").format(record)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_a_line_is_json_with_role_time_and_ids():
    with bound_ids(request="r1"):
        found = line("version %d\nis there", 3, version=3, other="left out")
    assert str(found.pop("time")).endswith("+00:00")
    assert found == {
        "level": "INFO",
        "role": "serve",
        "logger": "hsnn.x",
        "message": "version 3\nis there",
        "request": "r1",
        "version": 3,
    }


def test_a_traceback_is_part_of_the_line():
    try:
        raise ValueError("no")
    except ValueError:
        found = line("failed", exc_info=sys.exc_info())
    assert "ValueError: no" in str(found["traceback"])


def test_ids_belong_to_their_thread_and_end_with_their_block():
    seen: list[dict[str, str | int]] = []
    with bound_ids(job="verify"):
        thread = Thread(target=lambda: seen.append(current_ids()))
        thread.start()
        thread.join()
    assert seen == [{}]
    assert current_ids() == {}
