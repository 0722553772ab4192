"""The account of the engagements, and the table of the report."""

from __future__ import annotations

import pytest

from benchmarks.chaos.campaign import Outcome
from benchmarks.chaos.catalogue import gone_early
from benchmarks.chaos.report import family, markdown, rows
from benchmarks.chaos.verdict import Account


@pytest.mark.parametrize(
    ("account", "complete", "faults"),
    [
        (Account(10, 9, 8, 1, {"duplicate": 1}, 0), True, []),
        (Account(10, 10, 8, 1, {}, 1), False, []),
        (Account(10, 10, 8, 1, {}, 0), False, ["10 events are in the log, 9 are accounted for"]),
        (Account(10, 10, 9, 2, {}, 0), True, ["10 events are in the log, 11 are accounted for"]),
        (Account(10, 11, 9, 1, {}, 0), True, ["10 events are in the log, 11 were acknowledged"]),
    ],
)
def test_every_event_is_somewhere(account, complete, faults):
    assert account.is_complete is complete
    assert account.faults() == faults


def test_items_that_left_before_their_end():
    ends = {"for ever": 0, "ended": 900, "soon": 3_500, "later": 60_000}
    assert gone_early(set(ends) | {"unknown"}, set(), ends, at=1_000) == {"for ever", "later"}
    assert gone_early(set(ends), set(ends), ends, at=1_000) == set()


def test_kinds_that_differ_in_size_alone_share_a_row():
    kinds = (
        "clock of a producer +1 h",
        "clock of a producer -2 days",
        "poison: garbage",
        "Redis: the right @all is taken",
    )
    assert [family(kind) for kind in kinds] == ["clock of a producer"] * 2 + ["poison", "Redis: a right is taken"]
    assert family("second trainer, own folder") == "second trainer, own folder"


def test_the_table_has_a_row_per_kind():
    outcomes = [
        Outcome("b", 1.0, "metric x", True, 4.0, "no"),
        Outcome("b", 3.0, "metric y", True, 6.0, "no"),
        Outcome("b", None, "", True, None, "no", "lost"),
        Outcome("a", None, "", False, 2.0, "service manager"),
    ]
    table = rows(outcomes)
    assert table[1] == {
        "disruption": "b",
        "times": 3,
        "signs": {"metric x": 1, "metric y": 1},
        "seen": {"p50": 2.0, "max": 3.0},
        "recovered": {"p50": 5.0, "max": 6.0},
        "by_hand": "no",
    }
    assert markdown(table).splitlines()[2:] == [
        "| a | 1 | - | - | 2.0 / 2.0 | service manager |",
        "| b | 3 | metric x; metric y | 2.0 / 3.0 | 5.0 / 6.0 | no |",
    ]
