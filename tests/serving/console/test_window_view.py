from __future__ import annotations

from hsnn.serving.console.window_view import windows
from hsnn.streaming.config import StreamingConfig

PROGRESS = {
    "impressions": 90,
    "pending": 4,
    "dropped": {"duplicate": 7, "impression_not_joined": 2},
    "windows": {
        "shown_items": 12,
        "waiting_actions": 3,
        "event_keys": 500,
        "event_key_bytes": 90_000,
        "labelled": 270,
        "labelled_early": 1,
        "late_actions": 5,
    },
}


def test_the_joiner_is_there_if_it_has_tasks():
    config = StreamingConfig(tasks=("click", "like"), attribution_window=60, joiner_capacity=1000)
    found = windows(PROGRESS, config)
    assert found["joiner"] == {
        "tasks": ("click", "like"),
        "window": 60.0,
        "capacity": 1000,
        "impressions": 90,
        "pending": 4,
        "shown_items": 12,
        "waiting_actions": 3,
        "labelled": 270,
        "labelled_early": 1,
        "late_actions": 5,
    }
    assert (found["dedup"]["keys"], found["dedup"]["bytes"], found["dedup"]["duplicates"]) == (500, 90_000, 7)


def test_without_tasks_impressions_are_counted_that_nobody_joins_and_a_window_of_0_is_none():
    found = windows(PROGRESS, StreamingConfig(dedup_window=0))
    assert found == {"joiner": None, "not_joined": 2, "dedup": None}


def test_before_the_first_progress_all_figures_are_0():
    found = windows({}, StreamingConfig(tasks=("click",)))
    assert found["joiner"]["pending"] == found["joiner"]["labelled"] == found["dedup"]["duplicates"] == 0
