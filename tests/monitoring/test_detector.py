"""What every drift detector must do, whatever it looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import LossDriftConfig, MixDriftConfig
from hsnn.monitoring.detector import Detector
from hsnn.monitoring.drift.loss import LossDrift
from hsnn.monitoring.drift.mix import MixDrift

BATCHES, SHIFT = 400, 250


class Case(NamedTuple):
    """A detector, and a stream whose level can be set: level 0 is what it knows, other levels are shifts."""

    make: Callable[[], Detector[Any]]
    value: Callable[[np.random.Generator, int], Any]
    expected: int
    thrice: list[int]


def _loss(rng: np.random.Generator, level: int) -> float:
    return float(rng.normal(5.0 + level, 0.2))


def _mix(rng: np.random.Generator, level: int) -> np.ndarray:
    """64 interactions with 200 items of Zipf-like popularity; a level has items of its own."""
    return 1000 * level + np.minimum(rng.zipf(1.3, 64), 200)


CASES = {
    "loss": Case(lambda: LossDrift(LossDriftConfig()), _loss, 278, [178, 352, 538]),
    "mix": Case(lambda: MixDrift(MixDriftConfig(window=512, warm_up=8, cool_down=4)), _mix, 255, [151, 303, 455]),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def stream(case: Case, shifts: tuple[int, ...], batches: int = BATCHES) -> list[Any]:
    """Values whose level rises by one at every shift."""
    rng = np.random.default_rng(3)
    return [case.value(rng, sum(batch >= shift for shift in shifts)) for batch in range(batches)]


def alarms(detector: Detector[Any], values: list[Any], first: int = 0) -> list[Alarm]:
    raised = [detector.update(value, first + batch) for batch, value in enumerate(values)]
    return [alarm for alarm in raised if alarm is not None]


def test_a_planted_shift_raises_one_alarm_at_a_known_batch(case: Case) -> None:
    detector = case.make()
    raised = alarms(detector, stream(case, (SHIFT,)))
    assert [alarm.ts for alarm in raised] == [case.expected]
    assert raised[0].kind == detector.kind
    assert raised[0].value > raised[0].threshold
    assert raised[0].detail


def test_the_quiet_twin_raises_none(case: Case) -> None:
    assert alarms(case.make(), stream(case, ())) == []


@pytest.mark.slow
def test_a_long_calm_raises_none(case: Case) -> None:
    assert alarms(case.make(), stream(case, (), batches=5000)) == []


def test_every_shift_has_its_own_alarm(case: Case) -> None:
    raised = alarms(case.make(), stream(case, (150, 300, 450), batches=600))
    assert [alarm.ts for alarm in raised] == case.thrice
    assert len({alarm.id for alarm in raised}) == 3


def test_the_pause_after_an_alarm_holds_back_the_next(case: Case) -> None:
    raised = alarms(case.make(), stream(case, (SHIFT, SHIFT + 20)))
    first = raised[0].ts
    assert SHIFT <= first < SHIFT + 40
    assert [alarm.ts for alarm in raised if alarm.ts < first + 32] == [first]


@pytest.mark.parametrize("cut", [0, 1, 77, SHIFT, SHIFT + 3, 300])
def test_restored_anywhere_it_goes_on_alike(case: Case, cut: int) -> None:
    values = stream(case, (SHIFT, 340))
    whole, first, second = case.make(), case.make(), case.make()
    expected = alarms(whole, values)
    found = alarms(first, values[:cut])
    second.load_state_dict(msgspec.msgpack.decode(msgspec.msgpack.encode(first.state_dict())))
    found += alarms(second, values[cut:], cut)
    assert found == expected
    assert second.state_dict() == whole.state_dict()


@pytest.mark.slow
def test_its_state_is_bounded(case: Case) -> None:
    detector = case.make()
    values = stream(case, (), batches=6000)
    sizes = []
    for batch, value in enumerate(values):
        detector.update(value, batch)
        if batch % 100 == 0:
            sizes.append(len(msgspec.msgpack.encode(detector.state_dict())))
    assert max(sizes[30:]) <= 1.1 * max(sizes[:30])


def test_the_same_log_raises_the_same_alarm_ids(case: Case) -> None:
    first, second = (alarms(case.make(), stream(case, (SHIFT,))) for _ in range(2))
    assert first == second
