"""Addresses of logs: what is understood, what is refused, and that no password gets out."""

from __future__ import annotations

import pytest

from hsnn.streaming.errors import LogUnavailableError, LogUrlError, OutOfRangeError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.kafka.options import client_options
from hsnn.streaming.log.open import mask_secrets, open_log
from hsnn.streaming.log.redis.log import RedisLog, stream_key
from hsnn.streaming.redis.client import Redis


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "kafka://HOST:PORT"),
        ("http://x:1", "kafka://HOST:PORT"),
        ("kafka://", "names no broker"),
        ("kafka://host", "HOST:PORT"),
        ("kafka://me:hush@host:9092", "sasl_plain_password_env"),
        ("kafka://host:9092?ack=all", "no option ack"),
        ("kafka://host:9092?linger_mss=1", "did you mean linger_ms"),
        ("kafka://host:9092?linger_ms=soon", "must be a int"),
        ("kafka://host:9092?ssl_check_hostname=perhaps", "must be a bool"),
        ("kafka://host:9092?group_id=x", "cannot be set"),
        ("kafka://host:9092?sasl_plain_password_env=NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE"),
        ("redis://host:6379/0?retention=0", "whole number"),
    ],
)
def test_an_address_that_cannot_work_is_refused(url: str, word: str) -> None:
    with pytest.raises(LogUrlError) as caught:
        open_log(url)
    assert word in str(caught.value)
    assert "hush" not in str(caught.value)


def test_options_reach_the_clients_that_know_them() -> None:
    options = client_options(
        {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_password": "hush",
            "ssl_cafile": "ca",
            "linger_ms": "7",
            "fetch_min_bytes": "9",
            "ssl_check_hostname": "false",
        }
    )
    shared = {"security_protocol", "sasl_mechanism", "sasl_plain_password", "ssl_cafile", "ssl_check_hostname"}
    assert set(options["admin"]) == shared
    assert set(options["producer"]) == shared | {"linger_ms"}
    assert options["consumer"]["fetch_min_bytes"] == 9
    assert options["consumer"]["ssl_check_hostname"] is False


def test_passwords_are_masked() -> None:
    masked = mask_secrets("kafka://h:1?sasl_plain_password=hush&ssl_password=hush&sasl_plain_password_env=NAME")
    assert "hush" not in masked
    assert "NAME" in masked
    assert mask_secrets("rediss://:hush@h:1/0?password=hush") == "rediss://:***@h:1/0?password=***"
    assert mask_secrets("redis://h:1/0") == "redis://h:1/0"


def test_an_unreachable_server_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hush")
    monkeypatch.setattr("redis.retry.sleep", lambda _: None)
    log = open_log("redis://127.0.0.1:1/0?password_env=SECRET&socket_connect_timeout=1")
    with pytest.raises(LogUnavailableError, match=r"127\.0\.0\.1:1") as caught:
        log.partitions("engagements")
    assert "hush" not in f"{caught.value} {log!r}"
    with pytest.raises(LogUnavailableError, match=r"127\.0\.0\.1:1") as caught:
        open_log(
            "kafka://127.0.0.1:1?security_protocol=SASL_PLAINTEXT&sasl_mechanism=PLAIN&sasl_plain_username=me"
            "&sasl_plain_password_env=SECRET&bootstrap_timeout_ms=500"
        )
    assert "hush" not in str(caught.value)


def test_records_that_retention_took_are_missed_loudly(redis_server: str, redis_client: Redis) -> None:
    log = open_log(redis_server + "?retention=100")
    log.create_topic("t", 1)
    log.append("t", [ProducerRecord(b"k", b"%d" % i) for i in range(1000)])
    begin = log.begin_positions([("t", 0)])["t", 0]
    assert 0 < begin <= 900
    log.seek({("t", 0): begin})
    assert [records.offsets.tolist() for records in log.poll(5, 0.1)] == [list(range(begin, begin + 5))]
    log.seek({("t", 0): 3})
    with pytest.raises(OutOfRangeError, match="retention"):
        log.poll(5, 0.1)
    log.close()


def test_a_stream_that_was_emptied_keeps_its_end(redis_server: str, redis_client: Redis) -> None:
    log = RedisLog(redis_server)
    log.create_topic("t", 1)
    log.append("t", [ProducerRecord(b"k", b"v")] * 5)
    redis_client.xtrim(stream_key("t", 0), maxlen=0, approximate=False)
    assert log.begin_positions([("t", 0)]) == log.end_positions([("t", 0)]) == {("t", 0): 5}
    log.append("t", [ProducerRecord(b"k", b"v")])
    log.seek({("t", 0): 5})
    assert [records.offsets.tolist() for records in log.poll(5, 0.1)] == [[5]]
    log.close()
