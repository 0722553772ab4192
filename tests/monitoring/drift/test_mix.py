"""What the index on the item mix sees, and what it must not take for drift."""

import numpy as np

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import MixDriftConfig
from hsnn.monitoring.drift.mix import MixDrift, psi

CONFIG = MixDriftConfig(window=1000)


def run(items: np.ndarray, config: MixDriftConfig = CONFIG, batch: int = 250) -> list[Alarm]:
    drift = MixDrift(config)
    raised = [drift.update(items[at : at + batch], at // batch) for at in range(0, len(items), batch)]
    return [alarm for alarm in raised if alarm]


def test_psi_by_hand() -> None:
    one, other = np.array([30.0, 70.0]), np.array([60.0, 40.0])
    p, q = np.array([30.5, 70.5]) / 101, np.array([60.5, 40.5]) / 101
    assert np.isclose(psi(one, other), sum((q - p) * np.log(q / p)))
    assert psi(one, one) == 0.0
    assert np.isfinite(psi(np.array([100.0, 0.0]), np.array([0.0, 100.0])))


def test_turnover_as_on_a_news_site_raises_none() -> None:
    """Items live for about four windows; within each window a quarter of the engaged items is new."""
    rng = np.random.default_rng(1)
    at = np.arange(100_000)
    items = at // 20 + np.minimum(rng.zipf(1.2, len(at)), 200)
    assert run(items) == []


def test_a_move_to_items_never_seen_is_found_though_every_share_stays_flat() -> None:
    rng = np.random.default_rng(2)
    items = rng.integers(0, 400, 40_000)
    items[20_000:] += 400
    assert [alarm.ts for alarm in run(items)] == [83]


def test_a_move_among_known_items_is_found_though_none_is_new() -> None:
    rng = np.random.default_rng(2)
    items = np.where(rng.random(40_000) < 0.1, rng.integers(0, 40, 40_000), rng.integers(0, 5, 40_000))
    items[20_000:] = (items[20_000:] + 20) % 40
    assert [alarm.ts for alarm in run(items)] == [83]


def test_a_shift_inside_a_window_is_one_alarm() -> None:
    rng = np.random.default_rng(2)
    items = rng.integers(0, 400, 40_000)
    items[20_700:] += 400
    assert len(run(items)) == 1


def test_a_stream_that_became_restless_does_not_alarm_for_ever() -> None:
    rng = np.random.default_rng(4)
    calm, restless = rng.integers(0, 50, 30_000), rng.integers(0, 5, 100_000) + 5 * (np.arange(100_000) // 1000)
    raised = run(np.concatenate((calm, restless)))
    assert 1 <= len(raised) <= 3
    assert raised[-1].ts < (30_000 + 32_000) // 250


def test_a_batch_larger_than_the_window_and_an_empty_one() -> None:
    drift = MixDrift(CONFIG)
    assert drift.update(np.arange(2500) % 7, 1) is None
    assert drift.update(np.zeros(0, np.int64), 2) is None
    assert len(drift.state_dict()["pending"]) == 500


def test_switched_off_it_keeps_nothing() -> None:
    drift = MixDrift(MixDriftConfig(window=100, enabled=False))
    assert drift.update(np.arange(1000), 1) is None
    assert drift.state_dict()["pending"] == []
