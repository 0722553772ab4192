"""The table of the static protocol."""

from __future__ import annotations

from benchmarks.tables.static import PUBLISHED, gowalla


def served(recall: float) -> dict[str, float | int]:
    return {"recall": recall, "ndcg": 0.15, "kept": recall / 0.19, "scored_share": 0.0198, "nodes": 4160, "steps": 7}


def test_the_table_has_published_figures_the_exhaustive_search_and_means_over_seeds():
    found = {
        "users": 29858,
        "items": 40981,
        "train": 810128,
        "test": 217242,
        "backbone": {"width": 768.0, "power": 2.0, "popularity": 0.5},
        "exhaustive": {"recall": 0.19, "ndcg": 0.157},
        "runs": [{"served": served(0.188), "extra_steps": served(0.189)}, {"served": served(0.189)}],
    }
    found["runs"][1]["extra_steps"] = served(0.19)
    lines = gowalla(found).splitlines()
    assert lines[0].endswith(
        "vectors of 768 numbers, p = 2, b = 0.5; levels of 2 seed(s), range over seeds in brackets."
    )
    assert len(lines) == 4 + len(PUBLISHED) + 3
    assert "| LightGCN | 0.1830 | 0.1554 | | | |" in lines
    assert lines[-3:] == [
        "| this backbone, exhaustive | 0.1900 | 0.1570 | 100% | 100% | 0 |",
        "| learned levels | 0.1885 | 0.1500 | 99.21% (98.95 to 99.47) | 1.98% | 4,160 |",
        "| learned levels, then as many ordinary steps | 0.1895 | 0.1500 | 99.74% (99.47 to 100.00) | 1.98% | 4,160 |",
    ]
