"""The table of detection: seeds that found a change, delays, and the bound on false alarms."""

from __future__ import annotations

from typing import Any

from benchmarks.tables.drift import drift


def run(stream: str, delay: int | None, *false: Any) -> dict[str, Any]:
    hours = None if delay is None else delay / 1000
    return {
        "stream": stream,
        "model": False,
        "events": 1_000_000,
        "false": list(false),
        "false with a rhythm": [],
        "plants": {"bot flood": {"delay": delay, "hours": hours, "kinds": []}},
    }


def test_a_cell_has_the_median_and_the_longest_delay_and_how_many_seeds_found_it() -> None:
    found = [run("films", 3000), run("films", 5000), run("news", None, [7, 1, "users_rate"]), run("news", 1000)]
    lines = drift(found).splitlines()
    assert lines[0] == "| change | films | news |"
    assert lines[2] == "| bot flood | 4,000 / 5,000, 4 h | 1 of 2: 1,000 / 1,000, 1 h |"
    assert lines[3] == "| none, as it is: false alarms in events | 0 in 2,000,000 | 1 in 2,000,000 |"
    (rate,) = (line for line in lines if "changes missed" in line)
    assert rate.startswith("1 of 4 changes missed. 1 false alarms in 8,000,000 quiet events, 0.62 in five million")


def test_without_a_false_alarm_the_bound_is_three_events() -> None:
    assert "at most 7.49 with 95%" in drift([run("films", 3000)])


def test_a_stream_that_was_learned_has_the_recall_lost_of_each_seed() -> None:
    learned = run("films", 3000) | {"model": True, "seed": 4, "cost": 0.0312}
    learned["plants"]["bot flood"] |= {"recall lost": 7.57, "recall lost with rates": 6.8}
    missed = run("films", None) | {"model": True, "seed": 5, "cost": 0.02}
    missed["plants"]["bot flood"] |= {"recall lost": 0.04}
    lines = drift([run("films", 3000), learned, missed]).splitlines()
    place = lines.index("| bot flood | 3,000 / missed | 7.6 / 0.0 | 6.8 |")
    assert (
        "films, learned, 1,000,000 events, seeds 4, 5; 0 false alarms; the signals took at most 3.1%"
        in lines[place - 4]
    )


def test_an_action_is_right_where_the_rule_for_the_first_alarm_names_it() -> None:
    runs = [run("films", delay) for delay in (3000, 4000, 5000, None)]
    for each, kinds in zip(
        runs, (["users_busiest_share"], ["model_loss", "users_busiest_share"], ["users_rate"], []), strict=True
    ):
        each["plants"]["bot flood"]["kinds"] = kinds
    cells = "`model_loss` 1, `users_busiest_share` 1, `users_rate` 1"
    assert drift(runs).splitlines()[-2] == f"| bot flood | `notify` | {cells} | 2 of 4 |"
