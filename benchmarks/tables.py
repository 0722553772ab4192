"""Write the tables of `docs/benchmarks.md` from `results/*.json`, so that no figure there is typed by hand.

make docs
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
METHODS = ("served", "exhaustive", "popularity_filter", "popularity", "shuffled_index")


def quality(found: dict[str, Any]) -> str:
    """One table per data set: mean over the seeds, percent; then the paired differences of every seed."""
    parts = [f"Configuration `{found['config'][:12]}`. Means over the seeds, percent."]
    for name, runs in found["sets"].items():
        first, queries = runs[0], min(run["queries"] for run in runs)
        half_life = first["popularity_half_life_hours"]
        parts.append(
            f"**{name}**: {first['events']:,} events, {len(runs)} seed(s), {queries:,} queries each or more, "
            f"{first['index']['versions']} versions, {first['index']['items']:,} items in the index at the end. "
            f"Popularity's best half-life: {'none' if half_life is None else f'{half_life:g} h'}."
        )
        lines = [
            "| method | recall@20 | recall@50 | recall@50, popularity rank ≥ 50 | scored | share |",
            "|---|---|---|---|---|---|",
        ]
        for method in METHODS:
            of = [run["methods"][method] for run in runs]
            percent = [
                f"{100 * np.mean([one[key] for one in of]):.2f}"
                for key in ("recall_at_20", "recall_at_50", "rare_recall_at_50")
            ]
            work = [
                f"{np.mean([one['scored'] for one in of]):.0f}",
                f"{100 * np.mean([one['scored_share'] for one in of]):.1f}%",
            ]
            lines.append(f"| {' | '.join([method.replace('_', ' '), *percent, *work])} |")
        parts.append("\n".join(lines))
        parts.append(_paired(runs))
    return "\n\n".join(parts)


def _paired(runs: list[dict[str, Any]]) -> str:
    wanted = (
        ("recall_at_20", "popularity"),
        ("recall_at_50", "popularity"),
        ("recall_at_50", "popularity_filter"),
        ("recall_at_50", "shuffled_index"),
    )
    lines = ["| served minus ... | per seed, points ± paired standard error |", "|---|---|"]
    for cut, rival in wanted:
        values = ", ".join("{:+.2f} ± {:.2f}".format(*(100 * v for v in run["paired"][cut][rival])) for run in runs)
        lines.append(f"| {rival.replace('_', ' ')}, {cut.replace('_at_', '@')} | {values} |")
    return "\n".join(lines)


def speed(found: dict[str, Any]) -> str:
    """Events per second and milliseconds."""
    training, redis, retrieval = (
        found[key] for key in ("training_events_per_second", "redis_events_per_second", "retrieval_milliseconds")
    )
    lines = [
        f"{found['events']:,} events of ml-100k, {found['cores']} cores, configuration `{found['config'][:12]}`.", "",
        "| what | events/s |", "|---|---|",
        f"| bare training loop, one torch thread | {training['threads_1']:,.0f} |",
        f"| bare training loop, two torch threads | {training['threads_2']:,.0f} |",
        f"| produced to Redis Streams, one event per entry | {redis['produced']:,.0f} |",
        f"| consumed and decoded from it | {redis['consumed']:,.0f} |",
        f"| consumed, decoded and learned, one torch thread | {redis['learned']:,.0f} |", "",
        f"| one request, {retrieval['corpus']['items']:,.0f} items, one thread | p50 | p99 |", "|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {mode} | {retrieval[mode]['p50']:.2f} ms | {retrieval[mode]['p99']:.2f} ms |"
        for mode in ("beam", "exhaustive", "popularity")
    ]
    return "\n".join(lines)


def exact(found: dict[str, Any]) -> str:
    """Share scored and milliseconds of the modes, medians over the queries."""
    alone = found["search_alone"]
    lines = [
        f"{found['events']:,} events each, {found['cores']} cores, one thread, configuration `{found['config'][:12]}`. "
        "Medians; time per request at a moment that was not asked about before / that was.", "",
        "| data, k | items | queries | exact scored (90th percentile) | beam scored | exact | exhaustive | beam |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, run in found["sets"].items():
        for size in (key for key in run if key.startswith("k_")):
            modes = run[size]
            cells = [f"{name}, {size[2:]}", f"{run['items']:,}", str(run["queries"])]
            cells.append(f"{100 * modes['exact']['share']:.1f}% ({100 * modes['exact']['share_p90']:.1f}%)")
            cells.append(f"{100 * modes['beam']['share']:.1f}%")
            cells += [
                f"{modes[mode]['new_moment_ms']:.2f} / {modes[mode]['same_moment_ms']:.2f} ms"
                for mode in ("exact", "exhaustive", "beam")
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + (
        f"\n\nThe search alone, {alone['items']:,} planted vectors in {alone['nodes']:,} nodes, k = 20: "
        f"{alone['exact_ms']:.1f} ms with {100 * alone['share']:.2f}% scored, {alone['exhaustive_ms']:.1f} ms for all; "
        f"making the bounds took {alone['bounds_ms']:,.0f} ms."
    )


def demo(found: dict[str, Any]) -> str:
    """The demo's own account, one column per run."""
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "engagements produced = trained + dead-lettered + dropped + pending": lambda r: (
            "{produced:,} = {trained:,} + {dead_lettered:,} + {dropped} + {pending}".format(
                **(r["events"] | {"dropped": f"{_total(r['events']['dropped']):,}"})
            )
        ),
        "events/s over the run": lambda r: f"{r['events_per_second']:,.0f}",
        "replay speed, stream time per wall time": lambda r: f"{r['replay_speed']:,.0f}x",
        "live prequential queries": lambda r: f"{r['queries']:,}",
        "recall@20, served / popularity": lambda r: "{served:.3f} / {popularity:.3f}".format(**r["recall_at_20"]),
        "recall@50, served / popularity": lambda r: "{served:.3f} / {popularity:.3f}".format(**r["recall_at_50"]),
        "share of the corpus scored": lambda r: f"{100 * r['scored_share']:.1f}%",
        "freshness by HTTP probes, p50 / p99": lambda r: "{p50:.2f} s / {p99:.2f} s".format(**r["freshness_seconds"]),
        "items expired": lambda r: f"{r['index']['expired']:,}",
        "expired items returned": lambda r: str(r["expired_returned"]),
        "HTTP answers checked by the oracle": lambda r: f"{r['answers_checked']:,}",
    }
    names = list(found)
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {title} | {' | '.join(show(found[name]) for name in names)} |" for title, show in rows.items()]
    return "\n".join(lines)


def _total(dropped: Any) -> int:
    return sum(dropped.values()) if isinstance(dropped, dict) else int(dropped)


def main() -> None:
    page = PAGE.read_text("utf-8")
    for name, render in (("quality", quality), ("speed", speed), ("exact", exact), ("demo", demo)):
        path = HERE / "results" / f"{name}.json"
        if path.exists():
            table = render(json.loads(path.read_text("utf-8")))
            between = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
            page = between.sub(lambda _, table=table: f"{table}\n", page)
    PAGE.write_text(page, "utf-8")
    print(f"rewrote the tables of {PAGE.name}")


if __name__ == "__main__":
    main()
