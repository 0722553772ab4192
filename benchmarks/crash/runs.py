"""The two runs over one log: one that is killed again and again, one that is not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.crash import fork_server
from benchmarks.crash.child import FinalCounts, KillReport, TrainerJob
from benchmarks.crash.leftovers import premature_announcements, trim_streams, truncate_partial_file
from benchmarks.crash.plan import ANYWHERE, PlannedKill
from benchmarks.crash.sandbox import CrashSandbox
from hsnn.trainer.checkpoint.digest import digest, parts
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.errors import CheckpointError

_UNDISTURBED_INTERVAL = 10.0
"""Seconds between the checkpoints of the undisturbed run: others than those of the killed one."""


@dataclass
class CrashRun:
    """Result of one run.

    Attributes
    ----------
    ended
        Account at the end of the log.
    hits
        Kills per phase.
    steps
        Of the incarnation that was killed in a phase after the fewest.
    torn
        Half-written files that were damaged.
    """

    seconds: float = 0.0
    ended: FinalCounts | None = None
    digest: str = ""
    parts: list[str] = field(default_factory=list)
    dead_letters: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    steps: int | None = None
    torn: int = 0
    broken: list[str] = field(default_factory=list)


def run_with_kills(
    box: CrashSandbox, kills: Sequence[PlannedKill], fault: str | None, on_kill: Callable[[KillReport], object]
) -> CrashRun:
    """Start trainers one after the other, kill each as planned, and let the last one finish."""
    job, run = box.job_of("killed", 0.0, fault), CrashRun()
    started = time.monotonic()
    for kill in kills:
        outcome = fork_server.run(job, kill)
        if outcome.died is None:  # the log ended before the phase came: nothing is left to kill
            run.ended = outcome.ended
            break
        run.hits[kill.phase] += 1
        if kill.phase != ANYWHERE:
            run.steps = min(outcome.died.steps, run.steps or outcome.died.steps)
        _check_after_kill(box, job, kill, run)
        on_kill(outcome.died)
    if run.ended is None:
        run.ended = fork_server.run(job, None).ended
    return _finished(box, job, run, started)


def run_undisturbed(box: CrashSandbox) -> CrashRun:
    """Let one trainer learn the whole log."""
    job, run = box.job_of("undisturbed", _UNDISTURBED_INTERVAL), CrashRun()
    started = time.monotonic()
    run.ended = fork_server.run(job, None).ended
    return _finished(box, job, run, started)


def _check_after_kill(box: CrashSandbox, job: TrainerJob, kill: PlannedKill, run: CrashRun) -> None:
    """Truncate partial files, and check that nothing was announced before it was durable."""
    folder = job.trainer.checkpoint_dir
    if kill.kept_share < 1:
        run.torn += truncate_partial_file(folder, kill.kept_share)
    try:
        found = premature_announcements(folder, box.redis, box.log, job.streaming.group)
    except CheckpointError as error:
        found = [str(error)]
    run.broken += [f"after a kill in {kill.phase}: {what}" for what in found]
    trim_streams(box.redis)


def _finished(box: CrashSandbox, job: TrainerJob, run: CrashRun, started: float) -> CrashRun:
    run.seconds = time.monotonic() - started
    checkpoint = CheckpointStore(job.trainer.checkpoint_dir, 1).newest()
    if checkpoint is not None:
        run.parts = parts(checkpoint.arrays, checkpoint.values)
        run.digest = digest(checkpoint.arrays, checkpoint.values)
    run.dead_letters = box.dead_letters()
    trim_streams(box.redis)
    return run
