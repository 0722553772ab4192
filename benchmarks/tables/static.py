"""The static protocol: Gowalla beside published figures."""

from __future__ import annotations

from typing import Any

import numpy as np

PUBLISHED = {
    "most popular": (0.0416, 0.0317),
    "LightGCN": (0.1830, 0.1554),
    "GF-CF": (0.1849, 0.1518),
    "SimpleX": (0.1872, 0.1557),
    "NESCL": (0.1917, 0.1617),
    "BSPM-EM": (0.1920, 0.1597),
    "HILL, levels on NESCL": (0.1924, 0.1628),
}
"""Recall@20 and NDCG@20 on this split as their papers give them; `most popular` was measured here."""

TITLES = {
    "served": "learned levels",
    "test_time": "learned levels, then test-time training",
    "extra_steps": "learned levels, then as many ordinary steps",
}


def gowalla(found: dict[str, Any]) -> str:
    """Published figures, the backbone searched exhaustively, and the learned levels on it, means over seeds."""
    backbone, exhaustive, runs = found["backbone"], found["exhaustive"], found["runs"]
    lines = [
        f"{found['users']:,} users, {found['items']:,} items, {found['train']:,} training and {found['test']:,} test "
        f"pairs; vectors of {backbone['width']:.0f} numbers, p = {backbone['power']:g}, b = "
        f"{backbone['popularity']:g}; levels of {len(runs)} seed(s), range over seeds in brackets.",
        "",
        "| method | R@20 | NDCG@20 | of the exhaustive R@20 | items scored | nodes scored |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines += [f"| {name} | {recall:.4f} | {ndcg:.4f} | | | |" for name, (recall, ndcg) in PUBLISHED.items()]
    lines.append(
        f"| this backbone, exhaustive | {exhaustive['recall']:.4f} | {exhaustive['ndcg']:.4f} | 100% | 100% | 0 |"
    )
    for name in (name for name in TITLES if name in runs[0]):
        of = [run[name] for run in runs]
        kept = [100 * one["kept"] for one in of]
        recall, ndcg, scored = (np.mean([one[key] for one in of]) for key in ("recall", "ndcg", "scored_share"))
        lines.append(
            f"| {TITLES[name]} | {recall:.4f} | {ndcg:.4f} | {np.mean(kept):.2f}% ({min(kept):.2f} to {max(kept):.2f}) "
            f"| {100 * scored:.2f}% | {of[0]['nodes']:,} |"
        )
    return "\n".join(lines)
