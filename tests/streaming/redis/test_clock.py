"""The wall clock against that of Redis: measured now and then, logged when it becomes wrong and right again."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from hsnn.streaming.redis.clock import ClockWatch, seconds_ahead


class OtherClock:
    """A Redis whose clock is so far behind this machine's; in a cluster every primary answers."""

    def __init__(self, behind: float, *, cluster: bool = False) -> None:
        self.behind, self.cluster, self.asked = behind, cluster, 0

    def time(self) -> Any:
        self.asked += 1
        now = time.time() - self.behind
        answer = (int(now), int(now % 1 * 1e6))
        return {"node 1": answer, "node 2": answer} if self.cluster else answer


class Away:
    def time(self) -> Any:
        raise RedisConnectionError("away")


@pytest.mark.parametrize("behind", [-172_800.0, 0.0, 3600.0])
@pytest.mark.parametrize("cluster", [False, True])
def test_how_far_it_is_ahead(behind, cluster):
    assert seconds_ahead(OtherClock(behind, cluster=cluster)) == pytest.approx(behind, abs=30)


def test_it_is_measured_now_and_then_and_said_once_each_way(caplog):
    now, redis, shown = [0.0], OtherClock(0.0), []
    watch = ClockWatch(redis, shown.append, lambda: now[0])
    for now[0], redis.behind in ((0, 0), (1, 0), (6, 3600), (12, 3600), (18, 0)):
        watch.check()
    assert [round(ahead / 100) for ahead in shown] == [0, 36, 36, 0]
    assert redis.asked == 4
    wrong, right = (record.getMessage() for record in caplog.records if record.name.startswith("hsnn."))
    assert wrong.endswith(" s ahead of that of Redis; run NTP on both machines")
    assert right.endswith("they agree again")


def test_a_redis_that_does_not_answer_is_no_measurement():
    shown: list[float] = []
    ClockWatch(Away(), shown.append).check()
    assert shown == []
