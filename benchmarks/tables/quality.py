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
    "best R@50": "hindsight_recall_at_50",
}
LEARNERS_ON = "globo-news-300k"
"""Of the sets, the one that index learners were compared on."""
BUDGETS = ("50", "100", "200", "500", "1000")


def quality(found: dict[str, Any]) -> str:
    """Methods, curves and differences of the first variant of each data set, then what the other variants change."""
    parts = []
    for name, of in found["sets"].items():
        if name == LEARNERS_ON:
            continue
        first, *others = of["variants"].items()
        parts += [_heading(name, first[1]), _methods(first[1]), _differences(first[1]), _orders(first[1])]
        if of.get("young"):
            parts.append(_young(of["young"]))
        if of.get("goals"):
            parts.append(_goals(of["goals"]))
        if others:
            parts.append(_variants(first, others))
    if "against_counting" in found:
        parts.insert(0, _against_counting(found["against_counting"]))
    return "\n\n".join(parts)


def learners(found: dict[str, Any]) -> str:
    """Index learners and their settings, compared on one set."""
    of = found["sets"].get(LEARNERS_ON)
    if of is None:
        return ""
    first, *others = of["variants"].items()
    return _variants(first, others)


def _heading(name: str, of: dict[str, Any]) -> str:
    index, hours = of["index"], of["popularity_half_life_hours"]
    settings = f"Popularity's best half-life: {'none' if hours is None else f'{hours:g} h'}"
    if "settings" in of:
        chosen = [f"{name.replace('_', ' ')} {setting}" for name, setting in of["settings"].items()]
        settings = f"Settings, chosen on earlier queries: {', '.join(chosen)}"
    return (
        f"### {name}\n\nConfiguration `{of['config'][:12]}`, {of['events']:,} events, {of['seeds']} seed(s), "
        f"{of['queries']:,.0f} queries each. "
        f"{index['versions']:.0f} versions; {index['items']:,.0f} items in {index['nodes']:.0f} nodes at the end, "
        f"fullest over mean {index['max_over_mean']:.1f}, {100 * index['dead_share']:.1f}% dead, churn "
        f"{index['churn_per_100k_events']:.1f} per item and 100,000 events. {settings}."
    )


def _methods(of: dict[str, Any]) -> str:
    lines = [f"| method | {' | '.join(COLUMNS)} | scored | share | dots |", "|---" + "|--:" * (len(COLUMNS) + 3) + "|"]
    for name, figures in of["methods"].items():
        percent = [_percent(figures.get(key)) for key in COLUMNS.values()]
        work = [f"{figures['scored']:.0f}", f"{100 * figures['scored_share']:.1f}%"]
        work.append(f"{100 * figures['dots_share']:.1f}%" if "dots_share" in figures else "-")
        lines.append(f"| {' | '.join([name.replace('_', ' '), *percent, *work])} |")
    return "\n".join(lines)


def _against_counting(of: dict[str, Any]) -> str:
    """Where counting is ahead, over all sets and ages of a stream."""
    said = (
        f"Counting is ahead of the served path in {len(of['behind'])} of {of['comparisons']} comparisons (recall@20 "
        f"and recall@50, every counting baseline on {len(of['streams'])} streams; one-sided, Holm-corrected at "
        f"{of['level']:.0%})"
    )
    if not of["behind"]:
        return f"{said}."
    lines = [f"{said}:", "", "| stream | method | figure | served minus it, points |", "|---|---|---|--:|"]
    for one in of["behind"]:
        figure = one["figure"].replace("_at_", "@")
        lines.append(f"| {one['stream']} | {one['method']} | {figure} | {_interval(one)} |")
    return "\n".join(lines)


def _young(of: dict[str, Any]) -> str:
    """Recall of the first events of a stream, as far as methods go."""
    names = list(next(iter(of.values()))["methods"])
    head = " | ".join(name.replace("_", " ") for name in names)
    lines = [f"| first events: R@20 / R@50 | {head} |", "|---" + "|--:" * len(names) + "|"]
    for events, figures in of.items():
        methods = [figures["methods"][name] for name in names]
        cells = [f"{_percent(each['recall_at_20'])} / {_percent(each['recall_at_50'])}" for each in methods]
        lines.append(f"| {int(events):,} | {' | '.join(cells)} |")
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
