"""Console output of the crash test: a progress bar, a table and a verdict; and the same as JSON values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich import progress as bars
from rich.console import Console
from rich.table import Table

from benchmarks.crash.child import KillReport
from benchmarks.crash.plan import KINDS
from benchmarks.crash.runs import CrashRun


class Progress:
    """A progress bar for the current task."""

    def __init__(self, console: Console, kind: str) -> None:
        columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn())
        self._kind = kind
        self._bar = bars.Progress(*columns, bars.TimeElapsedColumn(), console=console, transient=True)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, what: str, total: int | None = None) -> None:
        """Start the bar of a new task."""
        self._bar.reset(self._task, description=f"{self._kind}: {what}", total=total)

    def filling(self, events: int) -> Callable[[int], None]:
        """Return a callback that shows the number of events in the log."""
        self.start("filling the log", events)
        return lambda done: self._bar.update(self._task, completed=done)

    def killing(self, kills: int) -> Callable[[KillReport], None]:
        """Return a callback that shows each kill."""
        self.start("killing", kills)

        def on_kill(died: KillReport) -> None:
            where = f"killed in {died.phase}, {died.events:,} events"
            self._bar.update(self._task, advance=1, description=f"{self._kind}: {where}")

        return on_kill


def show(console: Console, kind: str, killed: CrashRun, undisturbed: CrashRun, wrong: Sequence[str]) -> dict[str, Any]:
    """Print table and verdict; return them as JSON values."""
    kills = sum(killed.hits.values())
    per_kill = killed.seconds / max(1, kills)
    table = Table(title=f"crash test, log: {kind}", show_header=False)
    for phase in KINDS:
        table.add_row(f"killed in {phase}" if phase != "anywhere" else "killed anywhere", f"{killed.hits[phase]}")
    table.add_row("fewest steps before a kill in a phase", f"{killed.steps}")
    table.add_row("half-written files torn", f"{killed.torn}")
    table.add_row("killed run", f"{killed.seconds:.0f} s, {per_kill:.2f} s per kill")
    table.add_row("undisturbed run", f"{undisturbed.seconds:.0f} s")
    table.add_row("account", _account(killed))
    for name, run in (("digest, killed", killed), ("digest, undisturbed", undisturbed)):
        table.add_row(name, run.digest[:16])
    console.print(table)
    for line in wrong:
        console.print(f"[red]{kind}: {line}", highlight=False)
    if not wrong:
        console.print(f"[green]{kind}: {kills} kills, and not a bit differs")
    return {
        "hits": {phase: killed.hits[phase] for phase in KINDS},
        "fewest_steps": killed.steps,
        "torn": killed.torn,
        "seconds": round(killed.seconds, 1),
        "seconds_per_kill": round(per_kill, 3),
        "undisturbed_seconds": round(undisturbed.seconds, 1),
        "account": None if killed.ended is None else killed.ended._asdict(),
        "digest": killed.digest,
        "undisturbed_digest": undisturbed.digest,
        "differences": list(wrong),
    }


def failed(console: Console, kind: str, why: str) -> dict[str, Any]:
    """Print and return that a trainer ended by itself."""
    console.print(f"[red]{kind}: {why}", highlight=False)
    return {"differences": [why]}


def _account(run: CrashRun) -> str:
    if run.ended is None:
        return "none"
    e = run.ended
    return f"{sum(e):,} = {e.trained:,} trained + {e.dead_lettered} dead-lettered + {e.dropped} dropped + {e.pending}"
