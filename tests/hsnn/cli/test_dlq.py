"""``hsnn dlq`` as its users call it, on a real server: what it prints, what it sends, and its exit status."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hsnn.cli.app import application, main
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.redis.log import RedisLog
from hsnn.streaming.log.scan import read_topic
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.schema.events import Interaction, encode

NOW = 1_700_000_000_000
EVIL = b"\x1b[2J[red]\xff{"
"""Clears a terminal, looks like markup, is no UTF-8."""


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def log(redis_server: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A log that a consumer has read: two malformed records, one of a type that nobody knows."""
    monkeypatch.setenv("HSNN_STREAMING__LOG", redis_server)
    log = RedisLog(redis_server)
    log.create_topic("engagements", 1)
    event = Interaction(id=1, ts=NOW, user="u", item="a", action="click")
    values = [encode(event), EVIL, b"~" * 400, b'{"type": "wish", "ts": 1}']
    log.append("engagements", [ProducerRecord(b"u\x00", value, (("trace", b"\x07"),)) for value in values])
    consume(redis_server)
    yield log
    log.close()


def consume(url: str, state: Any = None) -> Any:
    """Read the log to its end, as a trainer would."""
    log = RedisLog(url)
    consumer = Consumer(log, StreamingConfig(partitions=1, max_wait=0.001), state=state)
    while consumer.next_batch(0.1) is not None or consumer.lag()[0]:
        pass
    found = consumer.state_dict()
    log.close()
    return found


def ask(*arguments: str) -> Result:
    return CliRunner().invoke(application(["dlq"]), ["dlq", *arguments], prog_name="hsnn")


def objects(*arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ask("show", "--json", *arguments).stdout.splitlines()]


def test_list(log: RedisLog) -> None:
    done = ask("list")
    assert done.exit_code == 0, done.output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "engagem" in line]
    assert [row[:4] for row in rows] == [
        ["engagements", "malformed", "2", "0"],
        ["engagements", "unknown_type", "1", "0"],
    ]
    assert all(row[4] <= row[5] for row in rows)


def test_list_of_nothing(redis_server: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSNN_STREAMING__LOG", redis_server)
    done = ask("list")
    assert done.exit_code == 0
    assert done.stdout.startswith("no dead letters in redis://")


def test_show_is_safe_to_print(log: RedisLog) -> None:
    done = ask("show", "--offset", "1", "--topic", "engagements")
    assert done.exit_code == 0
    assert done.stdout.startswith("engagements/0 at 1, event 0\n  reason: malformed: ")
    assert "  value: \\x1b[2J[red]\\xff{\n" in done.stdout
    assert "  key: u\\x00\n" in done.stdout
    assert "  header trace: \\x07\n" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.replace("\n", "").isprintable()


def test_show_cuts_what_is_long(log: RedisLog) -> None:
    assert "  value: " + "~" * 10 + "... (400 bytes)\n" in ask("show", "--bytes", "10", "--offset", "2").stdout


def test_show_as_json_is_whole_and_binary_safe(log: RedisLog) -> None:
    (found,) = objects("--offset", "1")
    assert base64.b64decode(found["value"]["base64"]) == EVIL
    assert base64.b64decode(found["key"]["base64"]) == b"u\x00"
    assert found["headers"] == [{"name": "trace", "preview": "\\x07", "base64": "Bw=="}]
    assert (found["topic"], found["partition"], found["offset"], found["reason"]) == ("engagements", 0, 1, "malformed")
    assert found["letter"] == {"topic": "engagements.dlq", "partition": 0, "offset": 0}


def test_show_filters_and_limits(log: RedisLog) -> None:
    assert [one["offset"] for one in objects()] == [1, 2, 3]
    assert [one["offset"] for one in objects("--reason", "unknown_type")] == [3]
    assert [one["offset"] for one in objects("--limit", "2")] == [1, 2]
    none = ask("show", "--reason", "arrow")
    assert none.exit_code == 1
    assert none.stdout == ""
    assert "no dead letter in redis://" in none.stderr


@pytest.mark.slow
def test_replay(log: RedisLog, redis_server: str) -> None:
    state = consume(redis_server)
    would = ask("replay", "--dry-run")
    assert would.exit_code == 0
    assert would.stdout == "3 read = 3 to be replayed\n  3 to engagements\n"
    some = ask("replay", "--reason", "malformed")
    assert some.exit_code == 0
    assert some.stdout == (
        "3 read = 2 replayed + 1 not_wanted\n"
        "  2 to engagements, remembered in engagements.dlq.replayed\n"
        "an event that fails again is a new dead letter in engagements.dlq, with its new position\n"
    )
    rest = ask("replay")
    assert rest.stdout.startswith("3 read = 1 replayed + 2 already_replayed\n")
    assert ask("replay").stdout == "3 read = 0 replayed + 3 already_replayed\n"
    records = list(read_topic(log, "engagements"))
    assert [record.value for record in records[4:]] == [record.value for record in records[1:4]]
    assert {(record.key, record.headers) for record in records[4:]} == {(b"u\x00", (("trace", b"\x07"),))}

    consume(redis_server, state)
    assert [one["offset"] for one in objects()] == [1, 2, 3, 4, 5, 6]
    rows = [line for line in ask("list").stdout.splitlines() if "malformed" in line]
    assert [cell.strip() for cell in rows[0].split("│")[3:5]] == ["4", "2"]


def test_replay_of_what_cannot_be_sent_is_exit_status_1(log: RedisLog) -> None:
    log.append("engagements.dlq", [ProducerRecord(b"k", b"a stranger")])
    done = ask("replay", "--dry-run")
    assert done.exit_code == 1
    assert done.stdout.startswith("4 read = 3 to be replayed + 1 foreign\n")
    assert ask("replay", "--reason", "malformed").exit_code == 0
    assert "a stranger" in ask("show").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "--topic", "items"), "there is no topic 'items.dlq' in the log: no event of 'items' ever became "),
        pytest.param(
            ("list", "--set", "streaming.log=redis://:pa55@127.0.0.1:1/0"),
            "the Redis server at redis://127.0.0.1:1",
            marks=pytest.mark.slow,  # the client tries again for some seconds
        ),
        (("replay", "--set", "streaming.log=ftp://x"), "hsnn: streaming.log is 'ftp://x'; a log begins with"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_exit_status_2(
    log: RedisLog, arguments: Any, said: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hsnn", "dlq", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert "pa55" not in error


def test_letters_are_edited_in_an_editor_and_sent(log: Any, redis_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = f"{sys.executable} -c \"import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text(''.join("
    editor += "line for line in p.read_text().splitlines(True) if 'wish' in line).replace('wish', 'item'))\""
    monkeypatch.setenv("VISUAL", editor)
    edited = ask("replay", "--edit")
    assert edited.exit_code == 0, edited.output
    assert "3 read = 1 replayed + 2 left_out" in edited.output
    sent = [record.value for record in read_topic(log, "engagements")][-1]
    assert json.loads(sent) == {"type": "item", "ts": 1}
    assert "3 read = 0 replayed + 1 already_replayed + 2 left_out" in ask("replay", "--edit").output


def test_a_letter_that_is_edited_wrongly_is_not_sent(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(list(read_topic(log, "engagements")))
    monkeypatch.setenv("VISUAL", f"{sys.executable} -c \"import sys; open(sys.argv[1], 'a').write('oops')\"")
    with pytest.raises(Exception, match=r"line \d.*nothing was sent, and the file is kept"):
        CliRunner().invoke(application(["dlq"]), ["dlq", "replay", "--edit"], catch_exceptions=False)
    assert len(list(read_topic(log, "engagements"))) == count
