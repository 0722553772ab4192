"""All signals together: found by their files, measured per window, the same alarms from the same stream."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from hsnn.monitoring.config import DriftConfig
from hsnn.monitoring.observation import FeedFigures, ModelFigures, Observation
from hsnn.monitoring.watching.monitor import DriftConfigError, SignalMonitor, declared_groups

BATCH = 128
CONFIG = DriftConfig(window=256)
DAY = 86_400_000


def observation(rng: np.random.Generator, number: int, **changes: Any) -> Observation:
    """A batch of a quiet stream: 40 s per batch, some new users and items, two actions, phones and tablets."""
    ts = 40_000 * number + np.sort(rng.integers(40_000, size=BATCH))
    buys = rng.random(BATCH) < changes.pop("buys", 0.2)
    tablets = rng.random(BATCH) < 0.3
    fields: dict[str, Any] = {
        "ts": int(ts[-1]),
        "model": ModelFigures(
            loss=float(rng.normal(5.0, 0.05)) + changes.pop("worse", 0.0),
            popularity_loss=6.0,
            gradient_norm=float(rng.lognormal(0.0, 0.1)),
            step_size=float(rng.lognormal(-9.0, 0.1)),
            ranks=rng.random(BATCH).astype(np.float32) ** 4,
            index_recall=0.95,
            sources=rng.choice(4, BATCH, p=(0.5, 0.2, 0.2, 0.1)).astype(np.uint8),
            assigned=400,
            moved=int(rng.binomial(400, 0.05)),
            labels=(rng.random((BATCH, 1)) < 0.2).astype(np.float32),
            probabilities=np.full((BATCH, 1), 0.2, np.float32),
        ),
        "events": BATCH,
        "items": np.minimum(rng.zipf(1.4, BATCH), 500),
        "users": rng.integers(2000, size=BATCH),
        "new_users": rng.random(BATCH) < 0.1,
        "unseen_items": rng.random(BATCH) < 0.05,
        "first_seen": ts[-1] - rng.integers(1, 36_000_000, BATCH),
        "repeated": rng.random(BATCH) < 0.3,
        "event_ts": ts,
        "sent_at": ts + rng.integers(10, 200, BATCH),
        "actions": ["buy" if buy else "click" for buy in buys],
        "values": np.full(BATCH, np.nan, np.float32),
        "contexts": [{"device": "tablet" if tablet else "phone"} for tablet in tablets],
        "item_features": [{"category": "a"}] * 16,
        "feed": FeedFigures(changed=int(rng.poisson(6)), deleted=1),
        "node_of": rng.integers(16, size=500).astype(np.int32),
        "node_sizes": rng.multinomial(500, np.full(16, 1 / 16)),
        "node_vectors": lambda: np.eye(16, dtype=np.float32) + 0.1,
        "node_cosines": lambda: np.full(64, 0.8, np.float32),
        "mean_user": lambda: rng.normal(1.0, 0.01, 8).astype(np.float32),
        "watermark": int(ts[-1]),
    }
    return Observation(**(fields | changes))


def run(monitor: SignalMonitor, first: int, last: int, shift: int = 10**9, **changes: Any) -> list[Any]:
    raised = []
    for number in range(first, last):
        rng = np.random.default_rng([3, number])
        seen = observation(rng, number, **(changes if number >= shift else {}))
        raised += [(number, alarm) for alarm in monitor.update(seen)]
    return raised


def test_every_declared_signal_has_a_value_after_five_windows() -> None:
    for name, group in declared_groups().items():
        signals = group.create()
        values: dict[str, Any] = {}
        for number in range(5):
            seen = observation(np.random.default_rng(number), number, values=np.ones(BATCH, np.float32))
            signals.update(seen)
            values = dict(signals.close(seen))
        assert set(values) == {signal.name for signal in group.signals}, name
        numbers = [value for value in values.values() if isinstance(value, float)]
        assert np.isfinite([value for value in numbers if value == value]).all()
        unmeasured = {key for key, value in values.items() if value != value}
        assert unmeasured <= {"model_fresh_recall"}, "too few events on unseen items"


@pytest.mark.slow
def test_a_quiet_stream_raises_none() -> None:
    assert run(SignalMonitor(CONFIG), 0, 500) == []


@pytest.mark.slow
def test_worse_loss_is_named_with_its_segment_and_what_happened_then() -> None:
    monitor = SignalMonitor(CONFIG)
    raised = run(monitor, 0, 200)
    seen = [{"device": "tv"}] * BATCH
    raised += run(monitor, 200, 260, 200, worse=2.0, contexts=seen, commands=1)
    kinds = {alarm.kind for _, alarm in raised}
    assert {"model_loss", "model_popularity_gap", "model_normalised_entropy"} <= kinds
    assert all(number >= 200 for number, _ in raised)
    first = next(alarm for _, alarm in raised if alarm.kind == "model_loss")
    assert first.segment == "device=tv: 0% -> 100%" or first.segment.startswith("device=")
    assert "command(s) of the control topic" in first.also[0]


@pytest.mark.slow
@pytest.mark.parametrize("cut", [41, 203])
def test_restored_anywhere_it_raises_the_same_alarms_at_the_same_batches(cut: int) -> None:
    whole, first, second = SignalMonitor(CONFIG), SignalMonitor(CONFIG), SignalMonitor(CONFIG)
    expected = run(whole, 0, 215, 200, worse=2.0)
    assert expected
    found = run(first, 0, cut, 200, worse=2.0)
    second.load_state_dict(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state_dict())))
    found += run(second, cut, 215, 200, worse=2.0)
    assert found == expected
    assert second.state_dict() == whole.state_dict()


def test_an_unknown_signal_or_detector_is_refused() -> None:
    with pytest.raises(DriftConfigError, match="the signals are clocks_ahead_share"):
        SignalMonitor(DriftConfig.model_validate({"signals": {"modl_loss": {}}}))
    with pytest.raises(DriftConfigError, match="the detectors are adwin, kswin"):
        SignalMonitor(DriftConfig.model_validate({"signals": {"model_loss": {"detector": "cusum"}}}))


@pytest.mark.slow
def test_a_signal_may_be_switched_off_or_given_another_detector() -> None:
    config = DriftConfig.model_validate(
        {"window": 256, "signals": {"model_loss": {"enabled": False}, "model_popularity_gap": {"detector": "kswin"}}}
    )
    kinds = {alarm.kind for _, alarm in run(SignalMonitor(config), 0, 260, 200, worse=2.0)}
    assert "model_loss" not in kinds
    assert "model_popularity_gap" in kinds
