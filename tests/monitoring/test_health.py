"""Liveness follows progress; readiness follows the parts that are awaited."""

from hsnn.monitoring.health import Health


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_silent_loop_is_not_live_and_a_beat_revives_it() -> None:
    clock = Clock()
    health = Health(clock=clock)
    health.expect("poll", within=10)
    health.expect("flush", within=100)
    clock.now = 10.0
    assert health.liveness()[0]
    clock.now = 10.1
    live, detail = health.liveness()
    assert not live
    assert (detail["poll"]["live"], detail["flush"]["live"]) == (False, True)
    health.beat("poll")
    assert health.liveness()[0]


def test_a_loop_that_is_not_live_says_what_that_means() -> None:
    clock = Clock()
    health = Health(clock=clock)
    health.expect("learning", within=10, reason="nothing is learned")
    assert "reason" not in health.liveness()[1]["learning"]
    clock.now = 11.0
    assert health.liveness()[1]["learning"]["reason"] == "nothing is learned"


def test_without_expectations_a_process_is_live() -> None:
    assert Health().liveness() == (True, {})


def test_a_loop_that_ended_is_not_missed() -> None:
    clock = Clock()
    health = Health(clock=clock)
    health.expect("load", within=1)
    health.stop_expecting("load")
    clock.now = 5.0
    assert health.liveness()[0]


def test_ready_needs_every_awaited_part() -> None:
    health = Health("model", "index")
    assert health.readiness() == (False, {"model": False, "index": False})
    health.set_ready("model")
    assert not health.readiness()[0]
    health.set_ready("index")
    assert health.readiness()[0]
    health.set_ready("index", False)
    assert not health.readiness()[0]


def test_with_nothing_awaited_the_first_ready_is_enough() -> None:
    health = Health()
    assert not health.readiness()[0]
    health.set_ready("loop")
    assert health.readiness()[0]
