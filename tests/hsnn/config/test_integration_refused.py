"""Every key of the configuration: what cannot work is refused with its name and the reason, from every source."""

from __future__ import annotations

import json
import typing
from pathlib import Path

import pytest

from hsnn.config.keys import Key
from hsnn.config.loader import ConfigError, load
from hsnn.config.schema import known_keys


def _types(annotation: object) -> set[object]:
    return {annotation} | {inner for part in typing.get_args(annotation) for inner in _types(part)}


NUMBERS = [
    key
    for key in known_keys().values()
    if not key.open and not key.listed and {int, float} & _types(key.field.annotation)
]
DURATIONS = [key for key in NUMBERS if key.duration]
POSITIVE_DURATIONS = {
    "indexer.alarm_sweep",
    "indexer.item_sweep",
    "indexer.job_timeout",
    "indexer.lease_ttl",
    "serving.deadline",
    "serving.experiment.stale_after",
    "indexer.rebalance_interval",
    "indexer.rebalance_pause",
    "indexer.refresh_sweep",
    "indexer.retention_interval",
    "indexer.sweep_interval",
    "indexer.verify_interval",
    "monitoring.stalled_after",
    "monitoring.stuck_after",
    "monitoring.worker_timeout",
    "streaming.attribution_window",
    "streaming.drop_above",
    "trainer.checkpoint_time",
    "trainer.expire_after_idle",
    "trainer.ids.items.expire_after",
    "trainer.ids.users.expire_after",
    "trainer.memory.time",
    "trainer.prequential_deadline",
}


def names(key: Key) -> str:
    return key.name


def test_the_keys_are_found():
    assert len(NUMBERS) > 90
    assert {key.name for key in DURATIONS} > POSITIVE_DURATIONS


# Two of seven among the fast tests: a thousand loads of the configuration take ten seconds.
REFUSED = [
    "nan",
    "-1",
    *(pytest.param(value, marks=pytest.mark.slow) for value in ("inf", "-inf", "1e400", "much", "")),
]


@pytest.mark.parametrize("value", REFUSED)
@pytest.mark.parametrize("key", NUMBERS, ids=names)
def test_no_number_is_negative_infinite_or_none_at_all(key, value):
    with pytest.raises(ConfigError, match=key.name.replace(".", r"\.")):
        load(overrides=[f"{key.name}={value}"])


@pytest.mark.parametrize("key", NUMBERS, ids=names)
def test_neither_is_one_in_a_variable(key, monkeypatch):
    monkeypatch.setenv("HSNN_" + key.name.upper().replace(".", "__"), "nan")
    with pytest.raises(ConfigError, match=key.name.replace(".", r"\.")):
        load()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", '""'])
@pytest.mark.parametrize("key", NUMBERS[::7], ids=names)
def test_neither_is_one_in_a_file(key, value, tmp_path: Path):
    file = tmp_path / "hsnn.toml"
    section, _, name = key.name.rpartition(".")
    file.write_text(f"[{section}]\n{name} = {value}\n")
    with pytest.raises(ConfigError, match=rf"{key.name}"):
        load(file)


@pytest.mark.parametrize("key", DURATIONS, ids=names)
def test_no_duration_is_longer_than_times_are(key):
    with pytest.raises(ConfigError, match="longest duration"):
        load(overrides=[f"{key.name}=36501d"])


@pytest.mark.parametrize("name", sorted(POSITIVE_DURATIONS))
def test_durations_that_nothing_could_meet_are_not_zero(name):
    with pytest.raises(ConfigError, match="greater than 0"):
        load(overrides=[f"{name}=0s"])


@pytest.mark.parametrize("weight", ["-1", "nan", "inf", "-inf", "1e9", '"nan"', '"-1"', "true", "null"])
def test_weights_of_actions_are_numbers_that_counters_bear(weight):
    with pytest.raises(ConfigError, match=r"trainer\.action_weights"):
        load(overrides=[f"trainer.action_weights.dislike={weight}"])


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["serving.k=50", "serving.max_k=20"], "above max_k = 20"),
        (["streaming.items_topic=engagements"], "'engagements'; each kind of event has a topic of its own"),
        (["streaming.users_topic="], "at least 1 character"),
        (["streaming.items_topic=items.dlq"], "hold dead letters"),
        (["streaming.group="], "at least 1 character"),
        (["streaming.log=http://127.0.0.1:9092"], "kafka://"),
        (["streaming.log=127.0.0.1:9092"], "kafka://"),
        (["redis.url=http://127.0.0.1:6379"], "redis://"),
        (["redis.url=localhost"], "redis://"),
        (["trainer.server=127.0.0.1:8080"], "http://"),
        (["trainer.model.children=[0]"], "greater than or equal to 2"),
        (["trainer.model.children=[-4]"], "greater than or equal to 2"),
        (["trainer.seed=9223372036854775808"], "less than"),
        (["serving.tokens={}", 'serving.tokens={"a": {"env": "A", "rate": -1}}'], "greater than 0"),
        (["serving.tls_cert=a.pem"], "set both"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(overrides, reason):
    with pytest.raises(ConfigError) as refused:
        load(overrides=overrides)
    assert reason in str(refused.value)


def test_a_refusal_shows_no_password_and_no_megabytes():
    with pytest.raises(ConfigError) as refused:
        load(overrides=["streaming.log=http://me:pa55word@host:1", "redis.url=http://me:pa55word@host"])
    assert "pa55word" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        load(overrides=["streaming.drop_above=1s", "redis.url=redis://me:pa55word@host"])
    assert "pa55word" not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        load(overrides=[f"trainer.seed={'x' * 100_000}", f"trainer.dislikes={json.dumps({'a': 'x' * 100_000})}"])
    assert len(str(refused.value)) < 2000
