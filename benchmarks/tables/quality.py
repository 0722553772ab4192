"""Retrieval quality: methods, curves, goals, and what each change of the default does."""

from __future__ import annotations

from typing import Any

import numpy as np

COLUMNS = {
    "R@20": "recall_at_20",
    "R@50": "recall_at_50",
    "R@200": "recall_at_200",
    "NDCG@20": "ndcg_at_20",
    "fresh": "fresh_24h_recall_at_50",
    "rare": "rare_recall_at_50",
    "coverage": "coverage",
}
ABLATED = "globo-news-300k"
"""Of the sets, the one whose table is that of the ablations."""
BUDGETS = ("50", "100", "200", "500", "1000")


def quality(found: dict[str, Any]) -> str:
    """Methods, curves and differences of the first variant of each data set, then what the other variants change."""
    parts = []
    for name, of in found["sets"].items():
        if name == ABLATED:
            continue
        first, *others = of["variants"].items()
        parts += [_heading(name, first[1]), _methods(first[1]), _differences(first[1]), _orders(first[1])]
        if of.get("goals"):
            parts.append(_goals(of["goals"]))
        if others:
            parts.append(_variants(first, others))
    return "\n\n".join(parts)


def ablations(found: dict[str, Any]) -> str:
    """What each change of the default does."""
    of = found["sets"].get(ABLATED)
    if of is None:
        return ""
    first, *others = of["variants"].items()
    return "\n\n".join([_heading(ABLATED, first[1]), _methods(first[1]), _orders(first[1]), _variants(first, others)])


def _heading(name: str, of: dict[str, Any]) -> str:
    index, hours = of["index"], of["popularity_half_life_hours"]
    return (
        f"### {name}\n\nConfiguration `{of['config'][:12]}`, {of['events']:,} events, {of['seeds']} seed(s), "
        f"{of['queries']:,.0f} queries each. "
        f"{index['versions']:.0f} versions; {index['items']:,.0f} items in {index['nodes']:.0f} nodes at the end, "
        f"fullest over mean {index['max_over_mean']:.1f}, {100 * index['dead_share']:.1f}% dead, churn "
        f"{index['churn_per_100k_events']:.1f} per item and 100,000 events. Popularity's best half-life: "
        f"{'none' if hours is None else f'{hours:g} h'}."
    )


def _methods(of: dict[str, Any]) -> str:
    lines = [f"| method | {' | '.join(COLUMNS)} | scored | share |", "|---" + "|--:" * (len(COLUMNS) + 2) + "|"]
    for name, figures in of["methods"].items():
        percent = [_percent(figures[key]) for key in COLUMNS.values()]
        work = [f"{figures['scored']:.0f}", f"{100 * figures['scored_share']:.1f}%"]
        lines.append(f"| {' | '.join([name.replace('_', ' '), *percent, *work])} |")
    return "\n".join(lines)


def _differences(of: dict[str, Any]) -> str:
    lines = ["| served minus ... | recall@20, points | recall@50, points |", "|---|--:|--:|"]
    for pair, figures in of["comparisons"].items():
        cells = [_interval(figures[figure]) for figure in ("recall_at_20", "recall_at_50")]
        lines.append(f"| {pair.removeprefix('served - ').replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _orders(of: dict[str, Any]) -> str:
    lines = [f"| recall@50 at a budget of | {' | '.join(BUDGETS)} |", "|---" + "|--:" * len(BUDGETS) + "|"]
    for name, curve in of["curves"].items():
        cells = [_percent(curve[budget]["recall_at_50"]) for budget in BUDGETS]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _goals(of: list[dict[str, Any]]) -> str:
    lines = ["| goal | at least | mean (95% interval over seeds) | |", "|---|--:|--:|---|"]
    for one in of:
        ends = "" if one["low"] is None else f" ({one['low']:.4f} to {one['high']:.4f})"
        lines.append(f"| {one['what']} | {one['goal']:g} | {one['mean']:.4f}{ends} | {one['verdict']} |")
    return "\n".join(lines)


def _variants(first: tuple[str, dict[str, Any]], others: list[tuple[str, dict[str, Any]]]) -> str:
    """What each variant does, and how far it is from the first one on the same queries."""
    head = (
        "variant | served R@50 | exhaustive R@50 | served, points | exhaustive, points | merge at 50, points "
        "| whole nodes at 100, points | max/mean | dead | churn"
    )
    lines = [f"| {head} |", "|---" + "|--:" * head.count("|") + "|"]
    for name, of in (first, *others):
        recalls = [_percent(of["methods"][method]["recall_at_50"]) for method in ("served", "exhaustive")]
        minus = of.get("minus_reference")
        change = [_interval(minus[method]["recall_at_50"]) if minus else "" for method in ("served", "exhaustive")]
        change += [
            _interval(minus[order][budget]) if minus else ""
            for order, budget in (("merge", "50"), ("whole_nodes", "100"))
        ]
        index = of["index"]
        shape = [f"{index['max_over_mean']:.1f}", f"{100 * index['dead_share']:.1f}%"]
        churn = f"{index['churn_per_100k_events']:.1f}"
        lines.append(f"| {' | '.join([name, *recalls, *change, *shape, churn])} |")
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "-" if share is None or np.isnan(share) else f"{100 * share:.2f}"


def _interval(of: dict[str, Any]) -> str:
    """Points: the mean, and the ends of the 95% interval over the seeds."""
    if of["low"] is None:
        return f"{100 * of['mean']:+.2f}"
    return f"{100 * of['mean']:+.2f} ({100 * of['low']:+.2f} to {100 * of['high']:+.2f})"
