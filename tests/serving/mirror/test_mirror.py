from __future__ import annotations

import threading
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.indexer.store.delta import Delta
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, Request
from hsnn.serving.search.retrieval import retrieve

HOUR = 3_600_000
MODES = ("beam", "exact", "exhaustive", "popularity", "popularity_filter")
EVERYTHING = RetrievalLimits(beam=6, budget=1000)


def everything(mirror: Mirror) -> set[str]:
    return set(
        retrieve(mirror, [Request(user="nobody", k=5000, mode="exhaustive")], RetrievalLimits(max_k=5000))[0].items
    )


def test_an_insert_is_retrievable_at_once(plant, mirror):
    delta = plant.add("newcomer", 3, topic="c3")
    assert not mirror.is_indexed("newcomer")
    assert mirror.apply_delta(delta)
    assert mirror.is_indexed("newcomer")
    only = Request(user="u0", filters=Filters(items=["newcomer"]))
    assert retrieve(mirror, [only])[0].items == ["newcomer"]


def test_deleted_items_are_gone_at_once(plant, mirror):
    mirror.apply_delta(plant.delete(5))
    assert "c0-5" not in everything(mirror)


def test_idle_items_expire_by_the_watermark_without_any_delta(plant, mirror):
    plant.engage("x", "c1-1", after=23 * HOUR)
    mirror.apply_state(plant.state())
    assert len(everything(mirror)) == 60
    plant.engage("x", "c1-2", after=HOUR)  # 24 h after the items' arrival, to the millisecond, and a little more
    mirror.apply_state(plant.state())
    assert everything(mirror) == {"c1-1", "c1-2"}


def test_expiry_is_exact_to_the_millisecond(fresh_plant):
    plant, mirror = fresh_plant, Mirror()
    plant.add("a", 0, expires_at=plant.now + 1000)
    plant.add("b", 1)
    plant.load(mirror)
    plant.engage("x", "b", after=999)
    mirror.apply_state(plant.state())
    assert everything(mirror) == {"a", "b"}
    plant.engage("x", "b", after=1)
    mirror.apply_state(plant.state())
    assert everything(mirror) == {"b"}


def test_without_an_idle_limit_items_stay(fresh_plant):
    plant, mirror = fresh_plant, Mirror()
    plant.idle_ms = None
    plant.add("a", 0)
    plant.add("b", 1)
    plant.load(mirror)
    plant.engage("x", "b", after=10_000 * HOUR)
    mirror.apply_state(plant.state())
    assert everything(mirror) == {"a", "b"}


def test_an_expired_item_that_is_engaged_again_returns(plant, mirror):
    plant.engage("x", "c1-1", after=25 * HOUR)
    mirror.apply_state(plant.state())
    mirror.apply_delta(plant.delete(0, "expired"))
    plant.engage("x", "c0-0")
    mirror.apply_state(plant.state())
    assert everything(mirror) == {"c1-1"}
    plant.nodes[0] = 0
    mirror.apply_delta(plant.insert(0, "returned"))
    assert everything(mirror) == {"c1-1", "c0-0"}


def test_other_epochs_are_ignored(plant, mirror):
    before = everything(mirror)
    plant.epoch = 2
    for epoch in (0, 2):
        assert not mirror.apply_delta(Delta("delete", epoch, 0, "c0-0", reason="deleted"))
    plant.engage("x", "c0-0", after=100 * HOUR)
    assert not mirror.apply_state(plant.state())
    assert everything(mirror) == before


def test_a_version_of_another_epoch_replaces_everything(plant, mirror, fresh_plant):
    fresh_plant.epoch = 2
    fresh_plant.add("only", 0)
    fresh_plant.engage("u0", "only")
    fresh_plant.engage("u1", "only")
    fresh_plant.version_number = 1
    assert mirror.load_version(fresh_plant.version())
    assert (mirror.version, mirror.epoch) == (2, 2)
    assert everything(mirror) == {"only"}
    assert retrieve(mirror, [Request(user="u0")])[0].items == []  # its only item is in its history


def test_a_version_of_the_same_epoch_keeps_states_that_are_ahead_of_it(plant, mirror):
    version = plant.version()
    plant.engage("late", "c2-2", after=23 * HOUR)
    mirror.apply_state(plant.state())
    assert not mirror.load_version(version)
    assert mirror.version == 2
    assert mirror.watermark == plant.now
    assert "c2-2" not in retrieve(mirror, [Request(user="late", k=60)], EVERYTHING)[0].items


def test_a_deletion_survives_a_version_made_before_it(plant, mirror):
    version = plant.version()
    plant.engage("x", "c0-0")
    mirror.apply_state(plant.state())
    mirror.apply_delta(plant.delete(5))
    mirror.load_version(version)
    assert "c0-5" not in everything(mirror)


@pytest.mark.slow
def test_rows_beyond_the_capacity_are_grown(fresh_plant):
    plant, mirror = fresh_plant, Mirror()
    plant.add("first", 0)
    plant.load(mirror)
    for number in range(1500):
        mirror.apply_delta(plant.add(f"i{number}", number % 6))
    plant.engage("x", "i1499")
    mirror.apply_state(plant.state())
    assert len(everything(mirror)) == 1501


def test_a_state_may_arrive_before_its_item(plant, mirror):
    delta = plant.add("early", 1)
    plant.engage("x", "early")
    mirror.apply_state(plant.state())
    assert "early" not in everything(mirror)
    mirror.apply_delta(delta)
    assert "early" in everything(mirror)


def test_the_choice_of_candidates_follows_a_change_of_half_life(plant, mirror):
    plant.weights["state_tower.popularity"] = np.float32(1)
    mirror.load_version(plant.version())

    def first() -> list[str]:
        return retrieve(mirror, [Request(user="y", history=["c3-0"], k=1)], RetrievalLimits(budget=1))[0].items

    for _ in range(5):
        plant.engage("x", "c3-4")
    plant.engage("x", "c3-5", after=HOUR)
    plant.half_life = 6  # 100 days: five engagements outweigh a later one
    mirror.apply_state(plant.state())
    assert first() == ["c3-4"]
    plant.half_life = 0  # six minutes
    mirror.apply_state(plant.state())
    assert first() == ["c3-5"]
    plant.half_life = 6
    mirror.apply_state(plant.state())
    assert first() == ["c3-4"]


def test_reset_reloads_the_same_epoch(plant, mirror):
    mirror.reset()
    assert not mirror.apply_state(plant.state())
    assert len(everything(mirror)) == 60  # still answers
    assert mirror.load_version(plant.version())


@pytest.mark.slow
def test_readers_see_a_consistent_state_while_it_is_updated(plant, mirror):
    versions = [plant.version() for _ in range(4)]
    failures, done = [], threading.Event()

    def read() -> None:
        requests = [Request(user=user, mode=mode, k=60) for user in ("u0", "nobody") for mode in MODES]
        last = 0
        try:
            while not done.is_set():
                for answer in retrieve(mirror, requests):
                    assert last <= answer.version
                    assert answer.stats.corpus in (59, 60)
                    last = answer.version
        except Exception as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in versions:
        mirror.load_version(version)
        for row in range(5):
            mirror.apply_delta(plant.delete(row, "expired"))
            plant.nodes[row] = 0
            mirror.apply_delta(plant.insert(row, "returned"))
            plant.engage("busy", f"c0-{row}")
            mirror.apply_state(plant.state())
    done.set()
    for reader in readers:
        reader.join()
    assert not failures


class Log:
    """What trainer and scheduler have published, and a mirror that was there from the start."""

    def __init__(self, plant) -> None:
        self.plant, self.mirror = plant, Mirror()
        self.states = []
        self.snapshot()
        self.flip()

    def snapshot(self) -> None:
        self.plant.nodes = [(node + 1) % 6 if node >= 0 else -1 for node in self.plant.nodes]
        self.written, self.since, self.state_since = self.plant.version(), [], len(self.states)

    def flip(self) -> None:
        self.base, self.deltas, self.state_id = self.written, self.since, self.state_since
        if self.mirror.load_version(deepcopy(self.base), self.deltas):
            for state in self.states[self.state_id :]:
                self.mirror.apply_state(state)

    def publish(self, delta: Delta) -> None:
        self.since.append(delta)
        if self.deltas is not self.since:
            self.deltas.append(delta)
        self.mirror.apply_delta(delta)

    def flush(self) -> None:
        self.states.append(self.plant.state())
        self.mirror.apply_state(self.states[-1])

    def restart(self) -> None:
        self.plant.epoch += 1
        self.plant.touched_items = set(range(len(self.plant.ids)))
        self.snapshot()
        self.flip()

    def fresh(self) -> Mirror:
        mirror = Mirror()
        mirror.load_version(deepcopy(self.base), self.deltas)
        for state in self.states[self.state_id :]:
            mirror.apply_state(state)
        return mirror

    def act(self, op: str, pick: int) -> None:
        plant = self.plant
        row = pick % max(len(plant.ids), 1)
        if op == "add":
            self.publish(
                plant.add(f"i{len(plant.ids)}", pick % 6, expires_at=plant.now + (pick % 3) * HOUR, parity=pick % 2)
            )
        elif op in ("flush", "snapshot", "flip", "restart"):
            getattr(self, op)()
        elif op == "half_life":
            plant.half_life = pick % 7
        elif not plant.ids:
            return
        elif op == "engage":
            plant.engage(f"u{pick % 5}", plant.ids[row], after=pick * 60_000)
        elif op in ("deleted", "expired"):
            self.publish(plant.delete(row, op))
        elif op == "move" and not plant.deleted[row]:  # nobody moves what is gone
            self.publish(plant.move(row, (pick // 7) % 6))
        elif op == "changed":
            plant.features[row], plant.nodes[row], plant.deleted[row] = {"parity": pick % 5}, pick % 6, False
            self.publish(plant.insert(row, "changed"))


OPS = (
    "add",
    "add",
    "engage",
    "engage",
    "flush",
    "snapshot",
    "flip",
    "restart",
    "half_life",
    "deleted",
    "expired",
    "move",
    "changed",
)


def cross_feature_arrays(mirror: Mirror) -> list[np.ndarray]:
    """What the cross features are made of, by row."""
    held, rows = mirror.state.cross_features, len(mirror.state.items.ids)
    pairs = held.covisitation
    return [part[:rows] for part in (held.tokens, pairs.neighbours, pairs.weights, pairs.totals, pairs.last)]


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.booleans(), st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 1000)), max_size=40))
def test_a_fed_mirror_equals_one_loaded_fresh(new_plant, cross, ops):
    log = Log(new_plant(cross=cross))
    for op, pick in [("add", 0), ("add", 0), ("engage", 0), ("engage", 5), *ops]:  # u0 makes a pair
        log.act(op, pick)
    log.flush()
    fed, fresh = log.mirror, log.fresh()
    for one, other in zip(cross_feature_arrays(fed), cross_feature_arrays(fresh), strict=True):
        assert np.array_equal(one, other)
    if cross:
        pairs, rows = log.plant.pairs, min(len(log.plant.ids), len(log.plant.pairs.last))
        assert np.array_equal(cross_feature_arrays(fed)[1][:rows], pairs.neighbours[:rows])
        assert np.array_equal(cross_feature_arrays(fed)[2][:rows], pairs.weights[:rows])
    queries = [
        Request(user=user, k=100, mode=mode, filters=Filters(items=items))
        for user in ("u0", "u1", "nobody")
        for mode in MODES
        if not (cross and mode == "exact")  # such a model has no bounds
        for items in (None, [f"i{n}" for n in range(0, 40, 3)])
    ]
    for limits in (EVERYTHING, RetrievalLimits(beam=2, budget=3)):
        for one, other in zip(retrieve(fed, queries, limits), retrieve(fresh, queries, limits), strict=True):
            assert one.items == other.items
            assert one.scores == pytest.approx(other.scores, abs=1e-4)
            assert (one.version, one.as_of, one.stats.corpus) == (other.version, other.as_of, other.stats.corpus)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 1000)), max_size=40))
def test_no_deleted_or_expired_item_is_ever_returned(new_plant, ops):
    log = Log(new_plant())
    for op, pick in ops:
        log.act(op, pick)
        log.flush()
        plant, now = log.plant, log.mirror.watermark
        dead = {
            name
            for row, name in enumerate(plant.ids)
            if plant.deleted[row] or 0 < plant.expires[row] <= now or plant.states.last[row] + plant.idle_ms <= now
        }
        for mode in MODES:
            answer = retrieve(log.mirror, [Request(user="u0", k=100, mode=mode)])[0]
            assert not dead & set(answer.items)
            assert np.isfinite(answer.scores).all()
