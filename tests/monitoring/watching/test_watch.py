"""What every change test must do under a watch, and what a watch keeps quiet about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import WatchConfig
from hsnn.monitoring.discovery import load_modules
from hsnn.monitoring.watching.monitor import TESTS_PACKAGE
from hsnn.monitoring.watching.signal import Signal
from hsnn.monitoring.watching.watch import Watch

HOUR = 3_600_000
WINDOW = HOUR // 2
SHIFT = 150


def signal(**changes: Any) -> Signal:
    return Signal(**({"name": "share", "meaning": "a share", "worse": "both", "floor": 0.05} | changes))


@pytest.fixture(params=sorted(load_modules(TESTS_PACKAGE)))
def make(request: pytest.FixtureRequest) -> Callable[..., Watch]:
    """A watch with each of the change tests."""
    create = load_modules(TESTS_PACKAGE)[request.param].create
    return lambda **changes: Watch(signal(**changes), WatchConfig(), create)


def series(jump: float = 0.0, windows: int = 300, seed: int = 5, at: int = SHIFT) -> list[float]:
    values = np.random.default_rng(seed).normal(0.0, 1.0, windows)
    values[at:] += jump
    return [float(value) for value in values]


def alarms(watch: Watch, values: list[float], first: int = 0) -> list[Alarm]:
    raised = [watch.update(value, (first + index) * WINDOW) for index, value in enumerate(values)]
    return [alarm for alarm in raised if alarm is not None]


@pytest.mark.slow
def test_a_lasting_shift_raises_one_alarm_soon(make: Callable[..., Watch]) -> None:
    raised = alarms(make(), series(12.0))
    assert len(raised) == 1
    assert SHIFT + 2 <= raised[0].ts / WINDOW <= SHIFT + 14
    assert raised[0].since == SHIFT * WINDOW
    assert raised[0].before == pytest.approx(0.0, abs=0.5)
    assert raised[0].value > raised[0].threshold > 0


@pytest.mark.slow
def test_a_long_calm_raises_none(make: Callable[..., Watch]) -> None:
    assert alarms(make(), series(windows=600)) == []


@pytest.mark.parametrize("test", ["adwin", "page_hinkley"])
def test_a_slow_shift_of_a_few_spreads_is_found_while_it_lasts(test: str) -> None:
    """Four spreads, reached within ten windows: too small for an alarm when it is young."""
    values = series()
    values[SHIFT:] = (np.array(values[SHIFT:]) + np.minimum(np.arange(150) * 0.4, 4.0)).tolist()
    raised = alarms(Watch(signal(slow=True), WatchConfig(), load_modules(TESTS_PACKAGE)[test].create), values)
    assert len(raised) == 1
    assert SHIFT + 6 <= raised[0].ts / WINDOW <= SHIFT + 30


@pytest.mark.slow
def test_an_outlier_raises_none(make: Callable[..., Watch]) -> None:
    values = series()
    values[SHIFT] = values[SHIFT + 40] = 50.0
    assert alarms(make(), values) == []


@pytest.mark.slow
def test_a_shift_for_the_better_raises_none(make: Callable[..., Watch]) -> None:
    assert alarms(make(worse="up"), series(-12.0)) == []


@pytest.mark.slow
def test_a_shift_in_the_warm_up_raises_none(make: Callable[..., Watch]) -> None:
    assert alarms(make(), series(12.0, at=10)) == []


def test_a_daily_rhythm_raises_none_and_a_break_of_it_does(make: Callable[..., Watch]) -> None:
    day = 24 * HOUR // WINDOW
    noise = series(windows=9 * day)
    rhythm = [value + (12.0 if index % day > day // 2 else 0.0) for index, value in enumerate(noise)]
    assert alarms(make(seasonal=True), rhythm) == []
    broken = [value + (60.0 if index >= 8 * day else 0.0) for index, value in enumerate(rhythm)]
    raised = alarms(make(seasonal=True), broken)
    assert raised == [] or raised[0].ts >= 8 * day * WINDOW


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 40, SHIFT + 1, SHIFT + 30, 270])
def test_restored_anywhere_it_goes_on_alike(make: Callable[..., Watch], cut: int) -> None:
    values = series(12.0, windows=330)
    whole, first, second = make(seasonal=True), make(seasonal=True), make(seasonal=True)
    expected = alarms(whole, values)
    found = alarms(first, values[:cut])
    second.load_state_dict(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state_dict())))
    found += alarms(second, values[cut:], cut)
    assert found == expected
    assert second.state_dict() == whole.state_dict()


@pytest.mark.slow
def test_its_state_is_bounded(make: Callable[..., Watch]) -> None:
    watch = make(seasonal=True)
    sizes = []
    for index, value in enumerate(series(windows=900)):
        watch.update(value, index * WINDOW)
        if index % 10 == 0:
            sizes.append(len(msgspec.msgpack.encode(watch.state_dict())))
    assert max(sizes[55:]) <= 1.05 * max(sizes[:55])


def test_a_window_without_a_value_is_left_out(make: Callable[..., Watch]) -> None:
    watch = make()
    before = watch.state_dict()
    assert watch.update(float("nan"), 5) is None
    assert watch.state_dict() == before


def test_a_mix_of_names_is_compared_as_a_whole() -> None:
    watch = Watch(
        signal(histogram=True, worse="up", floor=0.042), WatchConfig(), load_modules(TESTS_PACKAGE)["psi"].create
    )
    rng = np.random.default_rng(2)
    raised = []
    for index in range(120):
        buys = int(rng.binomial(1000, 0.1 if index < 80 else 0.5))
        if (alarm := watch.update({"buy": buys, "click": 1000 - buys}, index * WINDOW)) is not None:
            raised.append((index, alarm.since // WINDOW))
    assert raised == [(82, 80)]


@pytest.mark.parametrize("windows", [31, 34, 47])
def test_a_shift_that_lasts_for_days_is_not_its_own_season(windows: int) -> None:
    """Windows of 15 to 24 hours: what is compared with yesterday and last week may be the shift itself."""
    tests = load_modules(TESTS_PACKAGE)
    watch = Watch(signal(seasonal=True), WatchConfig(), tests["adwin"].create)
    mixes = Watch(signal(seasonal=True, histogram=True, worse="up"), WatchConfig(), tests["psi"].create)
    rng, raised, mixed = np.random.default_rng(3), [], []
    for index, value in enumerate(series(20.0, windows=SHIFT + 30)):
        ts, buys = index * windows * WINDOW, int(rng.binomial(1000, 0.1 if index < SHIFT else 0.6))
        raised += [index] if watch.update(value, ts) else []
        mixed += [index] if mixes.update({"buy": buys, "click": 1000 - buys}, ts) else []
    assert len(raised) == 1
    assert SHIFT + 2 <= raised[0] <= SHIFT + 10
    assert mixed == [SHIFT + 2]


def test_a_mix_that_follows_the_hour_raises_none() -> None:
    """Few windows at night: the same hour of yesterday may have none, but one beside it does."""
    tests = load_modules(TESTS_PACKAGE)
    watch = Watch(signal(seasonal=True, histogram=True, worse="up", floor=0.042), WatchConfig(), tests["psi"].create)
    rng, ts, raised = np.random.default_rng(4), 0, []
    while ts < 12 * 24 * HOUR:
        phase = np.sin(2 * np.pi * ts / (24 * HOUR))
        ts += int(HOUR * (0.9 + 0.6 * phase))
        buys = int(rng.binomial(1000, 0.3 + 0.25 * phase))
        raised += [ts] if watch.update({"buy": buys, "click": 1000 - buys}, ts) else []
    assert raised == []


def test_the_beginning_of_a_stream_is_not_what_is_usual() -> None:
    """All items are new at first; when they are again, since the catalogue was replaced, that is news."""
    create = load_modules(TESTS_PACKAGE)["adwin"].create
    watch, rng = Watch(signal(floor=0.01), WatchConfig(), create), np.random.default_rng(5)
    fading = [0.75, 0.2, 0.1, 0.08, 0.06, 0.05, 0.04, 0.04]
    known = rng.uniform(0.0, 0.02, 52).tolist()
    values = [*fading, *known, *fading, *known]
    alarms = [index for index, value in enumerate(values) if watch.update(value, index * WINDOW) is not None]
    assert len(alarms) == 1
    assert 60 <= alarms[0] <= 70
