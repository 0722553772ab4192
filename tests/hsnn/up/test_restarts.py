from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hsnn.up.restarts import Restarts


class Roles:
    """Processes whose ends are made up."""

    def __init__(self) -> None:
        self.dead: dict[str, str] = {}
        self.seconds = 5.0

    def ended(self) -> dict[str, str]:
        return dict(self.dead)

    def uptime(self, name: str) -> float:
        return self.seconds

    def log(self, name: str) -> Path:
        return Path(f"{name}.log")


class Watched:
    """Restarts at a time that the test sets."""

    def __init__(self) -> None:
        self.now, self.started, self.said, self.roles = 0.0, [], [], Roles()
        self.restarts = Restarts(self.roles, self._start, self.said.append, clock=lambda: self.now)

    def _start(self, name: str) -> None:
        self.started.append((self.now, name))
        del self.roles.dead[name]

    def kill(self, name: str = "trainer") -> None:
        self.roles.dead[name] = "by signal 9 after 5.0 s"


def test_what_ends_is_started_again_at_once():
    watched = Watched()
    watched.restarts.check()
    watched.kill()
    watched.restarts.check()
    watched.restarts.check()
    assert watched.started == [(0.0, "trainer")]
    assert watched.restarts.counts == {"trainer": 1}
    assert watched.said == ["trainer ended by signal 9 after 5.0 s, and is started again now; its log is trainer.log"]


def test_what_keeps_ending_is_started_later_and_later():
    watched = Watched()
    for step in range(1000):
        watched.now = step / 4
        if not watched.roles.dead:
            watched.kill()
        watched.restarts.check()
    times = [time for time, _ in watched.started]
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[:5] == [1.25, 2.25, 4.25, 8.25, 16.25]
    assert set(gaps[5:]) == {30.25}
    assert len(watched.said) == len(times) + watched.restarts.waiting("trainer")


def test_what_ran_for_long_is_started_at_once_again():
    watched = Watched()
    for _ in range(4):
        watched.kill()
        watched.restarts.check()
        watched.now += 100
        watched.restarts.check()
    watched.roles.seconds = 100.0
    watched.kill()
    watched.restarts.check()
    assert watched.started[-1][0] == watched.now


def test_one_that_waits_does_not_hold_up_another():
    watched = Watched()
    watched.kill()
    watched.restarts.check()
    watched.kill()
    watched.restarts.check()
    watched.kill("server")
    watched.restarts.check()
    assert watched.started[-1] == (0.0, "server")
    assert watched.restarts.waiting("trainer")
    assert not watched.restarts.waiting("server")
