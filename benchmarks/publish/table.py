"""The tables of what publishing costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Figures = dict[str, Any]
_STEPS = (
    "read the snapshot",
    "encode and assign",
    "write",
    "flip",
    "read into a mirror",
    "index in the mirror",
)
_KINDS = {"version": "snapshot and nodes", "leaf": "leaves", "items": "item map"}


def table(found: dict[str, Any]) -> str:
    """One column per number of items."""
    sizes: dict[str, Figures] = found["items"]
    rows: dict[str, Callable[[Figures], str]] = {"leaves": lambda of: f"{of['leaves']:,}"}
    for step in _STEPS:
        rows[f"{step}, s"] = lambda of, step=step: f"{of['publish']['seconds'][step]:.2f}"  # type: ignore[misc]
    rows |= {
        "**publish, all steps, s**": lambda of: f"{of['publish']['total']:.2f}",
        "write again, warm: ours / raw pipelines, s": lambda of: "{ours:.2f} / {raw:.2f}".format(**of["write"]),
        "**of the raw pipelines' speed**": lambda of: f"{100 * of['write']['share']:.0f}%",
        "commands, MB in them": lambda of: f"{of['write']['commands']:,}, {of['write']['megabytes']:.0f}",
    }
    for kind, title in _KINDS.items():
        rows[f"bytes per item in Redis: {title}"] = lambda of, kind=kind: (  # type: ignore[misc]
            f"{of['memory']['bytes_per_item'][kind]:.0f}"
        )
    for name in ("insert", "change", "delete"):
        rows[f"one {name}: encode, place, write, ms"] = lambda of, name=name: (  # type: ignore[misc]
            f"{of['operations'][name]['one_ms']:.2f}"
        )
    for name in ("insert", "change", "expire"):
        rows[f"2,000 at once, {name}, us each"] = lambda of, name=name: (  # type: ignore[misc]
            f"{of['operations'][name]['many_us']:.0f}"
        )
    rows["mirror: an insert, us"] = lambda of: f"{of['operations']['insert']['mirror_us']:.0f}"
    head = [f"{int(size):,} items" for size in sizes]
    lines = [f"{found['cores']} cores, one thread, {found['shards']} shard(s), medians.", ""]
    lines += [f"| | {' | '.join(head)} |", "|---" + "|--:" * len(head) + "|"]
    lines += [f"| {title} | {' | '.join(show(of) for of in sizes.values())} |" for title, show in rows.items()]
    return "\n".join(lines) + bare_table(found["bare"])


def bare_table(found: Figures) -> str:
    """The index alone, one line per number of items."""
    if not found:
        return ""
    head = (
        "without a snapshot | leaves | write, s | read the leaves, s | bytes per item | insert, move, delete: one, ms "
        "| 2,000 at once, us each"
    )
    lines = ["", "", f"| {head} |", "|---" + "|--:" * head.count("|") + "|"]
    for size, of in found.items():
        one, many = (
            [of["operations"][op][key] for op in ("insert", "move", "delete")] for key in ("one_ms", "many_us")
        )
        cells = [f"{int(size):,} items", f"{of['leaves']:,}", f"{of['seconds']['write']:.1f}"]
        cells += [f"{of['seconds']['read the leaves']:.1f}", f"{of['bytes_per_item']:.0f}"]
        cells += [", ".join(f"{value:.2f}" for value in one), ", ".join(f"{value:.0f}" for value in many)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
