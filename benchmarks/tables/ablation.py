"""The ablation: what the default loses without each of its parts, by data set."""

from __future__ import annotations

from typing import Any

from benchmarks.quality.ablation import WHOLE


def ablation(found: dict[str, Any]) -> str:
    """The default, and the points that each part is worth; then the same of young streams."""
    sets = found["sets"]
    windows = "; ".join(
        f"{name} {of['streams'][WHOLE]['events']:,} events, {of['streams'][WHOLE]['queries']:,} queries"
        for name, of in sets.items()
    )
    young = dict.fromkeys(stream for of in sets.values() for stream in of["streams"] if stream != WHOLE)
    rule = "|---" + "|--:" * len(sets) + "|"
    return "\n".join(
        [
            f"Seed 0, configuration `{next(iter(sets.values()))['config']}`: {windows}.",
            "",
            f"| R@20 / R@50 | {' | '.join(sets)} |",
            rule,
            *_rows(sets, WHOLE, dots=True),
            "",
            f"| first events | {' | '.join(sets)} |",
            rule,
            *(line for stream in young for line in _rows(sets, stream, dots=False)),
        ]
    )


def _rows(sets: dict[str, Any], stream: str, *, dots: bool) -> list[str]:
    """One row per variant of a stream, one column per set; with `dots`, the dot products of each, too."""
    variants = [of["streams"].get(stream, {"variants": {}})["variants"] for of in sets.values()]
    lines = []
    for variant in dict.fromkeys(name for of in variants for name in of):
        title = f"`{variant}`" if stream == WHOLE else f"{int(stream):,}, `{variant}`"
        cells = [_cell(of[variant], dots=dots) if variant in of else "-" for of in variants]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def _cell(row: dict[str, Any], *, dots: bool) -> str:
    """Recall in percent or, of a variant, the points that it differs from the default, with their standard error."""
    recall = f"{100 * row['recall_at_20']:.2f} / {100 * row['recall_at_50']:.2f}"
    if "minus_default" in row:
        recall = " / ".join(f"{100 * mean:+.2f} ± {100 * error:.2f}" for mean, error in row["minus_default"].values())
    return f"{recall}, {100 * row['dots_share']:.0f}%" if dots else recall
