"""The digest of a checkpoint: the same for the same learning, another one for anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from hsnn.monitoring.config import MonitoringConfig
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.schema.events import Impression, Interaction, encode
from hsnn.trainer.checkpoint.digest import LEFT_OUT, digest, parts
from hsnn.trainer.checkpoint.store import Checkpoint, CheckpointStore
from hsnn.trainer.online.loop import OnlineLoop
from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.training.learner import Learner

EVENTS, BATCH = 1024, 64
STREAMING = StreamingConfig(
    batch_size=BATCH, partitions=2, max_wait=0.05, tasks=("click",), attribution_window=60, joiner_capacity=100
)


class KilledError(Exception):
    """The process is gone."""


def of(checkpoint: Checkpoint) -> str:
    return digest(checkpoint.arrays, checkpoint.values)


@pytest.fixture
def run(config, new_world, redis_client, tmp_path) -> Callable[..., Checkpoint]:
    """``run(folder, until=..., die=..., **changes of TrainerConfig)`` learns a stream; returns its last checkpoint."""
    records = planted(new_world())
    model = config.model.model_copy(update={"tasks": ("click",)})

    def learn(folder: str, until: int = EVENTS, die: bool = False, **changes: Any) -> Checkpoint:
        path = tmp_path / folder
        settings = {"model": model, "checkpoint_dir": path, "snapshot_interval": 1e9, "flush_interval": 0.0} | changes
        loop = OnlineLoop(
            config.model_copy(update=settings), STREAMING, MonitoringConfig(), filled(records), redis_client, folder
        )

        def stop() -> bool:
            done = loop.learner.events >= until and not loop._publisher.busy
            if done and die:
                raise KilledError
            return done

        if die:
            with pytest.raises(KilledError):
                loop.run(stop)
        else:
            loop.run(stop)
        newest = CheckpointStore(path, kept=3).newest()
        assert newest is not None
        return newest

    return learn


def planted(world) -> list[tuple[str, bytes, Any]]:
    """Announcements, impressions of two items and the click on one of them; a click is sent twice now and then."""
    records: list[tuple[str, bytes, Any]] = []
    for _ in range(EVENTS // BATCH):
        batch = world.batch(BATCH)
        records += [("items", item.id.encode(), item) for item in batch.items]
        events = batch.engagements
        for user, item, ts in zip(events.user, events.item, events.ts.tolist(), strict=True):
            name = f"{ts}-{user}"
            shown = Impression(id=f"i{name}", ts=ts - 1, user=user, items=[item, "c0-0"])
            records.append(("engagements", user.encode(), shown))
            click = Interaction(id=name, ts=ts, user=user, item=item, action="click")
            records += [("engagements", user.encode(), click)] * (2 if ts % 7 == 0 else 1)
    return records


def filled(records) -> MemoryLog:
    """A log of its own, sent now: the same events, at other times of the wall clock."""
    log = MemoryLog()
    for topic in ("engagements", "items"):
        log.create_topic(topic, 2)
        log.append(topic, [ProducerRecord(key, encode(event)) for to, key, event in records if to == topic])
    return log


@pytest.mark.slow
def test_the_same_stream_learned_twice_gives_the_same_digest_whenever_checkpoints_are_taken(run):
    once, often = run("once"), run("often", snapshot_interval=0.02)
    assert often.name > once.name
    assert once.values["consumer"]["sent_at"] != often.values["consumer"]["sent_at"]
    assert of(once) == of(often)
    counts = once.values["progress"]
    assert (counts["trained"] - counts["impressions"], counts["dropped"]["duplicate"] > 0) == (EVENTS, True)
    assert counts["impressions"] > 0
    assert len(once.values["consumer"]["joiner"]["shown"][0]) > 0


@pytest.mark.slow
def test_stopped_or_killed_and_resumed_gives_the_digest_of_the_undisturbed_run(run):
    undisturbed = of(run("undisturbed"))
    assert of(run("stopped", until=400)) != undisturbed
    assert of(run("stopped")) == undisturbed
    run("killed", until=700, die=True, snapshot_interval=0.02)
    assert of(run("killed")) == undisturbed


@pytest.mark.slow
def test_checkpoints_by_events_lie_at_the_same_places_in_every_run(run, tmp_path):
    def places(folder: str) -> list[tuple[int, str]]:
        store = CheckpointStore(tmp_path / folder, kept=99)
        return [(store.manifest(name).events, of(store.read(name))) for name in store.names()]

    every = {"checkpoint_events": 200, "checkpoints_kept": 99, "snapshot_interval": 1e9}
    last = run("one", **every)
    run("other", until=500, die=True, **every)
    run("other", **every)
    assert of(last) == of(run("undisturbed"))
    by_events = [place for place in places("one") if place[0] in (256, 448, 640, 832)]
    assert [events for events, _ in by_events] == [256, 448, 640, 832]
    assert set(by_events) <= set(places("other"))


@pytest.mark.slow
def test_another_seed_gives_another_digest(run):
    assert of(run("one", until=BATCH)) != of(run("other", until=BATCH, seed=1))


def test_another_generator_seed_counts_even_before_anything_was_drawn(config):
    arrays, values = Learner(config).state_dict()
    other = Learner(config.model_copy(update={"seed": 1})).state_dict()[1]
    assert digest(arrays, {"learner": values}) != digest(arrays, {"learner": other})


@pytest.fixture(scope="module")
def state(taught) -> tuple[dict[str, Array], dict[str, Any]]:
    arrays, own = taught[0].state_dict()
    consumer = {"places": [["engagements", 0, 7, 0, 5, 0, 0, 0]], "watermark": {"value": 5}, "sent_at": 9}
    return arrays, {"learner": own, "consumer": consumer, "progress": {"dropped": {"duplicate": 1}}, "extra": 1}


@pytest.mark.slow
def test_one_flipped_bit_of_any_array_gives_another_digest(state):
    arrays, values = state
    before, rng = parts(arrays, values), np.random.default_rng(0)
    for name, array in arrays.items():
        if not array.size:
            continue
        flipped = np.frombuffer(array.tobytes(), np.uint8).copy()
        flipped[rng.integers(len(flipped))] ^= 1 << rng.integers(8)
        changed = {name: flipped.view(array.dtype).reshape(array.shape)}
        after = parts({**{name: array}, **changed}, {})
        assert after[0] not in before
        assert after[0].split()[:3] == parts({name: array}, {})[0].split()[:3]
    flipped[0] ^= 1
    assert digest(arrays | changed, values) != digest(arrays, values)


@pytest.mark.slow
def test_a_changed_position_gives_another_digest(state):
    arrays, values = state
    moved = deepcopy(values)
    moved["consumer"]["places"][0][2] += 1
    assert digest(arrays, moved) != digest(arrays, values)


def test_every_value_counts_but_those_of_the_wall_clock(state):
    _, values = state
    before = digest({}, values)
    for part, inner in values.items():
        for name in inner if isinstance(inner, dict) else [None]:
            changed = dict(values)
            changed[part] = inner | {name: "changed"} if name else "changed"
            same = digest({}, changed) == before
            assert same == (f"{part}.{name}" in LEFT_OUT), (part, name)
    assert set(LEFT_OUT) == {"consumer.sent_at", "drift.signals.clocks"}


def test_a_value_that_is_missing_or_new_counts(state):
    _, values = state
    less = {part: inner for part, inner in values.items() if part != "progress"}
    assert len({digest({}, less), digest({}, values), digest({}, values | {"more": None})}) == 3


def test_names_dtype_and_shape_count_order_does_not():
    one, two = np.arange(6, dtype=np.int32), np.zeros(2, np.float32)
    base = digest({"a": one, "b": two}, {"x": {"k": 1, "l": [1, 2]}, "y": 2})
    assert digest({"b": two, "a": one}, {"y": 2, "x": {"l": (1, 2), "k": 1}}) == base
    others = [
        {"a": one.reshape(2, 3), "b": two},
        {"a": one.view(np.uint32), "b": two},
        {"a": one, "c": two},
        {"a": one},
    ]
    values: dict[str, Any] = {"x": {"k": 1, "l": [1, 2]}, "y": 2}
    assert len({base, *(digest(other, values) for other in others)}) == 5
    swapped, whole = digest({"a": one, "b": two}, values | {"x": {"k": 1, "l": [2, 1]}}), {"k": 1.0, "l": [1, 2]}
    assert len({base, swapped, digest({"a": one, "b": two}, values | {"x": whole})}) == 3


def test_how_an_array_lies_in_memory_does_not_count():
    array = np.arange(12, dtype=np.int64).reshape(3, 4)
    layouts = [array, np.asfortranarray(array), array.astype(">i8"), np.repeat(array, 2, axis=1)[:, ::2]]
    assert len({digest({"a": one}, {}) for one in layouts}) == 1
    assert len({digest({"a": np.array(3.0)}, {}), digest({"a": np.array([3.0])}, {})}) == 2
    assert digest({"a": np.zeros((0, 3))}, {}) != digest({"a": np.zeros((0, 4))}, {})


def test_what_is_read_back_has_the_digest_of_what_was_written(state, tmp_path):
    arrays, values = state
    store = CheckpointStore(tmp_path, kept=1)
    name = store.write(arrays, values, events=1, watermark=2, model={}, config_digest="", threads=1)
    assert of(store.read(name)) == digest(arrays, values)


def test_it_is_the_sum_of_its_lines(state):
    lines = parts(*state)
    assert digest(*state) == hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
    assert lines == sorted(lines)
