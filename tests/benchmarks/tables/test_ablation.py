"""The table of the ablation."""

from __future__ import annotations

from benchmarks.tables.ablation import ablation


def stream(recall: float, lost: float) -> dict:
    default = {"recall_at_20": recall, "recall_at_50": 2 * recall, "dots_share": 0.27}
    minus = {"recall_at_20": (-lost, 0.001), "recall_at_50": (lost, 0.002)}
    late = {"recall_at_20": recall - lost, "recall_at_50": 2 * recall + lost, "dots_share": 1.0, "minus_default": minus}
    return {"events": 5000, "queries": 700, "variants": {"default": default, "late": late}}


def test_the_table_has_differences_from_the_default_and_young_streams():
    sets = {
        name: {"config": "0123", "streams": {"whole": stream(recall, 0.01), "1000": stream(recall / 2, 0.02)}}
        for name, recall in (("films", 0.2), ("shop", 0.4))
    }
    del sets["shop"]["streams"]["1000"]["variants"]["late"]
    lines = ablation({"sets": sets}).splitlines()
    assert lines[0] == (
        "Seed 0, configuration `0123`: films 5,000 events, 700 queries; shop 5,000 events, 700 queries."
    )
    assert lines[2:6] == [
        "| R@20 / R@50 | films | shop |",
        "|---|--:|--:|",
        "| `default` | 20.00 / 40.00, 27% | 40.00 / 80.00, 27% |",
        "| `late` | -1.00 ± 0.10 / +1.00 ± 0.20, 100% | -1.00 ± 0.10 / +1.00 ± 0.20, 100% |",
    ]
    assert lines[-2:] == [
        "| 1,000, `default` | 10.00 / 20.00 | 20.00 / 40.00 |",
        "| 1,000, `late` | -2.00 ± 0.10 / +2.00 ± 0.20 | - |",
    ]
