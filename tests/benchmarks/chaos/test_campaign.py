"""A disruption is seen, undone and over; what is not is a fault."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.chaos import campaign
from benchmarks.chaos.campaign import Campaign, Outcome, failures, what_is_missing
from benchmarks.chaos.disruptions.base import Disruption, Scene
from benchmarks.chaos.loop import REDIS, ROLES, SCHEDULERS, SERVERS
from benchmarks.chaos.watch import Page, Sign, View

MARK, ITEMS = 1000.0, 50


def whole(**changed: Any) -> View:
    """Pages of a loop that works; `changed` replaces some."""
    pages = {name: Page({}, True) for name in ROLES}
    pages[SCHEDULERS[0]] = Page({"hsnn_scheduler_leading": 1.0}, True)
    pages |= {name: Page({"hsnn_mirror_watermark_seconds": 2e9, "hsnn_index_items": 50.0}, True) for name in SERVERS}
    return View(pages | changed)


def test_a_loop_that_works():
    assert what_is_missing(whole(), MARK, ITEMS) == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trainer": Page(None, False)}, "not ready: trainer"),
        ({"trainer": Page({}, False, "no room")}, "not ready: trainer no room"),
        ({"scheduler_2": Page({"hsnn_scheduler_leading": 1.0}, True)}, "2 schedulers lead"),
        ({"scheduler_1": Page({"hsnn_scheduler_leading": 0.0}, True)}, "0 schedulers lead"),
        (
            {"server_2": Page({"hsnn_mirror_watermark_seconds": 990.0, "hsnn_index_items": 50.0}, True)},
            "what was sent before is not in server_2: 10.0 s behind",
        ),
        (
            {"server_1": Page({"hsnn_mirror_watermark_seconds": 2e9, "hsnn_index_items": 49.0}, True)},
            "server_1 lack items that have no end",
        ),
    ],
)
def test_what_does_not_work_is_named(changed, said):
    assert what_is_missing(whole(**changed), MARK, ITEMS).startswith(said)


class Planted(Disruption):
    """Shows `sign` from the first look on, if at all, and is over as `over` says."""

    sign, over, undone = True, "", 0

    def signs(self) -> list[Sign]:
        return [Sign("never", lambda _, __: False), Sign("planted", lambda _, __: self.sign)]

    def strike(self) -> None:
        pass

    def end(self) -> None:
        Planted.undone += 1

    def is_over(self, now: View) -> str:
        return self.over

    def durations(self) -> tuple[float, float]:
        return (0.0, 0.0)


@pytest.fixture
def strike(monkeypatch):
    monkeypatch.setattr(campaign, "VISIBLE_SECONDS", 0.01)
    monkeypatch.setattr(campaign, "RECOVER_SECONDS", 0.01)
    monkeypatch.setattr(campaign, "_LOOK_SECONDS", 0.001)
    items: list[set[str]] = [{"a", "b"}]
    monkeypatch.setattr(campaign, "items_of", lambda _: items[min(len(items) - 1, Planted.undone)])
    monkeypatch.setattr(Planted, "undone", 0)
    traffic = SimpleNamespace(permanent=lambda: ITEMS, ends={"a": 0, "b": 1})
    scene = Scene(
        SimpleNamespace(view=whole, admin=lambda: None, backends={REDIS: SimpleNamespace(is_whole=lambda: True)}),
        traffic,
    )

    def strike(*, later: set[str] | None = None, **attributes: Any) -> tuple[Outcome, list[str]]:
        Planted.undone = 0
        items[1:] = [] if later is None else [later]

        def make(scene: Scene, random: Random) -> Disruption:
            disruption = Planted("planted disruption", scene, random)
            vars(disruption).update(attributes)
            return disruption

        run = Campaign(scene, SimpleNamespace(struck=""), seed=1)
        return run.strike(("planted disruption", make)), run.early

    return strike


def test_a_blow_that_is_seen_and_over(strike):
    outcome, early = strike()
    assert (outcome.sign, outcome.missing, Planted.undone) == ("planted", "", 1)
    assert outcome.recovered is not None
    assert failures([outcome]) == early == []


def test_a_blow_that_nobody_sees_is_a_fault(strike):
    outcome, _ = strike(sign=False)
    assert outcome.seen is None
    assert failures([outcome]) == ["planted disruption: nothing was to be seen within 0.01 s"]


def test_a_blow_with_lasting_consequences_is_a_fault(strike):
    outcome, _ = strike(over="still broken")
    assert outcome.recovered is None
    assert failures([outcome]) == ["planted disruption: not recovered after 0.01 s (still broken)"]


def test_items_that_leave_before_their_end_are_a_fault_and_others_are_none(strike):
    assert strike(later={"a"})[1] == []
    assert strike(later={"b"})[1] == ["planted disruption: 1 items left before their end, as a"]
