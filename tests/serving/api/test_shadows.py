"""Shadows answer after the caller got an answer, and nothing of theirs reaches the caller."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event

import pytest

from hsnn.serving.api.shadows import _MOST_WAITING, Shadows
from hsnn.serving.config import ExperimentConfig
from hsnn.serving.errors import RequestError
from hsnn.serving.experiment import Arm, Experiment
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.schema import Answer, AnswerStats, Request
from tests.waiting import DEADLINE, wait_until

ARMS = {"shown": {"share": 1}, "unseen": {"shadow": 1}}
REQUEST = Request(user="u", explain=True, why_not=["x"], fields=["title"])


def answer(*items: str) -> Answer:
    """An answer of some items."""
    stats = AnswerStats(scored=0, candidates=0, nodes=0, corpus=0)
    return Answer(items=list(items), scores=[0.0] * len(items), version=1, as_of=0, stats=stats)


class Recorded:
    """Shadows with the arms above, what they recorded, and their metrics."""

    def __init__(self, retrieve: Callable[[Arm, Request], Answer]) -> None:
        self.metrics, self.lines = ServingMetrics(), list[tuple[str, Request, list[str]]]()
        experiment = Experiment(ExperimentConfig.model_validate({"name": "x", "arms": ARMS}), RetrievalLimits())
        self.shadows = Shadows(experiment, retrieve, self._record, self.metrics)

    def _record(self, arm: Arm, request: Request, unseen: Answer) -> None:
        self.lines.append((arm.name, request, unseen.items))

    def value(self, name: str, **labels: str) -> float:
        """A metric of the arm that is unseen; 0 where there is none yet."""
        return self.metrics.registry.get_sample_value(name, {"arm": "unseen", **labels}) or 0.0


def test_items_that_both_answers_have_are_counted_and_what_explains_is_left_out():
    asked = []

    def retrieve(arm: Arm, request: Request) -> Answer:
        asked.append(request)
        return answer("b", "c", "d")

    recorded = Recorded(retrieve)
    recorded.shadows.follow([REQUEST], [answer("a", "b", "c", "e")])
    wait_until(lambda: recorded.lines)
    assert asked == [Request(user="u")]
    assert recorded.lines == [("unseen", REQUEST, ["b", "c", "d"])]
    assert recorded.value("hsnn_shadow_items_total", items="shared") == 2
    assert recorded.value("hsnn_shadow_items_total", items="other") == 1
    assert recorded.value("hsnn_arm_seconds_count", role="shadow") == 1
    recorded.shadows.close()


@pytest.mark.parametrize(("error", "reason"), [(RequestError("no such feature"), "refused"), (ValueError(), "failed")])
def test_a_shadow_that_fails_is_counted_said_and_goes_on(error, reason, caplog):
    def retrieve(arm: Arm, request: Request) -> Answer:
        raise error

    recorded = Recorded(retrieve)
    with caplog.at_level(logging.INFO):
        recorded.shadows.follow([REQUEST] * 2, [answer("a")] * 2)
        wait_until(lambda: recorded.value("hsnn_shadows_passed_over_total", reason=reason) == 2)
    assert "the shadow unseen" in caplog.text
    assert not recorded.lines
    recorded.shadows.close()


def test_a_slow_shadow_passes_requests_over_and_nobody_waits():
    go = Event()

    def retrieve(arm: Arm, request: Request) -> Answer:
        go.wait(DEADLINE)
        return answer("a")

    recorded = Recorded(retrieve)
    for _ in range(_MOST_WAITING + 5):
        recorded.shadows.follow([REQUEST], [answer("a")])
    assert recorded.value("hsnn_shadows_passed_over_total", reason="waiting") == 5
    go.set()
    wait_until(lambda: len(recorded.lines) == _MOST_WAITING)
    recorded.shadows.follow([REQUEST], [answer("a")])
    wait_until(lambda: len(recorded.lines) == _MOST_WAITING + 1)
    recorded.shadows.close()
