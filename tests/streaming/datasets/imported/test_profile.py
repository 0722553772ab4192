from __future__ import annotations

from typing import Any

import pytest

from hsnn.config.loader import load as load_config
from hsnn.streaming.datasets.imported.entry import validate_files
from hsnn.streaming.datasets.imported.report import ImportReport

START = 1_700_000_000
DAY = 86_400


def report(tmp_path: Any, *rows: tuple[str, str, int, str]) -> ImportReport:
    text = "user,item,ts,action\n" + "".join(f"{u},{i},{START + t},{a}\n" for u, i, t, a in rows)
    (tmp_path / "log.csv").write_text(text)
    return validate_files([tmp_path / "log.csv"])


@pytest.mark.slow
def test_figures(tmp_path: Any) -> None:
    found = report(
        tmp_path,
        ("u", "a", 0, "view"),
        ("u", "b", 60, "view"),
        ("u", "c", 2 * 3600, "buy"),
        ("v", "a", 60, "view"),
        ("v", "a", 60, "view"),
    ).profile
    assert (found.events, found.users, found.items) == (5, 2, 3)
    assert found.actions == {"view": 4, "buy": 1}
    assert (found.first, found.last) == (START * 1000, (START + 7200) * 1000)
    assert (found.sessions, found.session_events) == (3, 1.67)
    assert found.unordered == 1
    assert found.repeats == 1
    assert found.peak_per_second == 3
    assert (found.unknown_items, found.unknown_events) == (3, 5)


@pytest.mark.slow
def test_items_that_live_two_days_expire_soon_after(tmp_path: Any) -> None:
    rows = [(f"u{n % 7}", f"i{day}", day * DAY + n * 3600, "view") for day in range(40) for n in range(48)]
    found = report(tmp_path, *rows)
    assert found.expire_after_idle == 6 * 3600
    assert found.advice[0].value == '"6h"'
    assert "0.00% of the events are of an item idle for 6h before" in found.advice[0].why


def test_items_that_come_back_stay(tmp_path: Any) -> None:
    rows = [("u", f"i{day % 3}", day * DAY * 30, "view") for day in range(60)]
    assert report(tmp_path, *rows).expire_after_idle is None


def test_rarer_actions_weigh_more_and_the_advice_is_configuration(tmp_path: Any) -> None:
    rows = [("u", "a", n, "view") for n in range(90)] + [("u", "a", 90 + n, "add to cart") for n in range(10)]
    advice = {one.key: one.value for one in report(tmp_path, *rows).advice}
    assert advice["trainer.action_weights"] == '{ view = 1, "add to cart" = 3 }'
    file = tmp_path / "hsnn.toml"
    file.write_text("".join(f"{key} = {value}\n" for key, value in advice.items()))
    config = load_config(file).config
    assert config.trainer.action_weights == {"view": 1.0, "add to cart": 3.0}
    assert config.streaming.partitions == 4
    assert config.trainer.expire_after_idle is None


@pytest.mark.slow
@pytest.mark.parametrize(("events", "partitions"), [(999, "4"), (4500, "5")])
def test_partitions_follow_the_busiest_second(events: int, partitions: str, tmp_path: Any) -> None:
    found = report(tmp_path, *[(f"u{n}", "a", 5, "view") for n in range(events)])
    assert found.advice[-1].value == partitions
