"""Columns of the table of one competitor."""

from __future__ import annotations

from typing import Any

HEAD = (
    "",
    "replaced",
    "recall@50",
    "p50 / p99 ms",
    "p50 / first",
    "meanwhile",
    "items/s",
    "MB",
    "fullest / mean",
    "gone found",
)


def cells(name: str, look: dict[str, Any]) -> list[str]:
    """Format one measurement of a competitor as a row."""
    meanwhile = "{during_p50_ms:.2f} / {during_p99_ms:.2f}".format(**look) if "during_p50_ms" in look else ""
    rate = f"{look['items_per_second']:,.0f}" if "items_per_second" in look else ""
    fullest = look.get("fullest_over_mean") or look.get("max_over_mean")
    against = f"{look['against_first']:.2f}" if look.get("against_first") else ""
    return [
        name.replace("_", " "),
        f"{100 * look['churn']:g}%",
        f"{look['recall']:.3f}",
        f"{look['p50_ms']:.2f} / {look['p99_ms']:.2f}",
        against,
        meanwhile,
        rate,
        f"{look['mb']:,.0f}",
        f"{fullest:.1f}" if fullest else "",
        str(look["gone"]),
    ]
