"""Signs in metrics, health pages and logs."""

from __future__ import annotations

import pytest

from benchmarks.chaos.watch import Page, View, exceeds, grows, is_down, is_not_ready, is_zero, parse, says, stands_still

TEXT = '# HELP a b\nrefused_total{write="state"} 2.0\nrefused_total{write="feed"} 1.0\nrefused_total_x 9.0\n'
START = "process_start_time_seconds"


def view(metrics: dict[str, float] | None, *, ready: bool = True) -> View:
    return View({"trainer": Page(metrics, ready)})


def test_values_with_labels_and_without():
    seen = view(parse(TEXT))
    assert seen.value("trainer", 'refused_total{write="feed"}') == 1
    assert seen.value("trainer", "refused_total") == 3
    assert seen.value("trainer", "missing", 7.0) == seen.value("nobody", "missing", 7.0) == 7
    assert (seen.answers("trainer"), seen.answers("nobody"), view(None).answers("trainer")) == (True, False, False)


@pytest.mark.parametrize(
    ("sign", "before", "now", "expected"),
    [
        (is_down("trainer"), view({START: 1.0}), view({START: 1.0}), False),
        (is_down("trainer"), view({START: 1.0}), view(None), True),
        (is_down("trainer"), view({START: 1.0}), view({START: 2.0}), True),
        (is_not_ready("trainer"), view({}), view({}, ready=False), True),
        (is_not_ready("trainer"), view({}), view(None, ready=False), False),
        (grows("trainer", "refused_total"), view({"refused_total": 2.0}), view({"refused_total": 3.0}), True),
        (grows("trainer", "refused_total"), view({"refused_total": 2.0}), view({"refused_total": 0.0}), False),
        (exceeds(["trainer"], "ahead", 60.0), view({}), view({"ahead": -3600.0}), True),
        (exceeds(["trainer"], "ahead", 60.0), view({}), view({"ahead": 59.0}), False),
        (is_zero("trainer", "leading"), view({}), view({"leading": 0.0}), True),
        (is_zero("trainer", "leading"), view({}), view({}), False),
        (stands_still("trainer", "time"), view({}), view({"time": 1e9}), True),
        (stands_still("trainer", "time"), view({}), view({"time": 1e11}), False),
        (stands_still("trainer", "time"), view({}), view(None), False),
    ],
)
def test_signs(sign, before, now, expected):
    assert sign.seen(before, now) is expected


def test_a_line_counts_from_now_on_only(tmp_path):
    log = tmp_path / "role.log"
    log.write_text("refused\n")
    sign = says(log, "refused")
    assert not sign.seen(view({}), view({}))
    log.write_text("refused\nrefused again\n")
    assert sign.seen(view({}), view({}))
    assert not says(tmp_path / "none.log", "refused").seen(view({}), view({}))
