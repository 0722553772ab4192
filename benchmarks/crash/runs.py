"""The two runs over one log: one that is killed again and again, one that nobody touches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.crash import fork_server
from benchmarks.crash.child import Died, Ended, Orders
from benchmarks.crash.leftovers import broken_promises, tear, tidy
from benchmarks.crash.plan import ANYWHERE, Kill
from benchmarks.crash.sandbox import Stage
from hsnn.trainer.checkpoint.digest import digest, parts
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.errors import CheckpointError

_CALM = 10.0
"""Seconds between the checkpoints of the undisturbed run: others than those of the killed one."""


@dataclass
class Run:
    """What one run came to.

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
    ended: Ended | None = None
    digest: str = ""
    parts: list[str] = field(default_factory=list)
    dead_letters: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    steps: int | None = None
    torn: int = 0
    broken: list[str] = field(default_factory=list)


def killed(stage: Stage, kills: Sequence[Kill], fault: str | None, told: Callable[[Died], object]) -> Run:
    """Start trainers one after the other, kill each as planned, and let the last one finish."""
    orders, run = stage.of_run("killed", 0.0, fault), Run()
    started = time.monotonic()
    for kill in kills:
        outcome = fork_server.run(orders, kill)
        if outcome.died is None:  # the log ended before the phase came: nothing is left to kill
            run.ended = outcome.ended
            break
        run.hits[kill.phase] += 1
        if kill.phase != ANYWHERE:
            run.steps = min(outcome.died.steps, run.steps or outcome.died.steps)
        _look(stage, orders, kill, run)
        told(outcome.died)
    if run.ended is None:
        run.ended = fork_server.run(orders, None).ended
    return _judged(stage, orders, run, started)


def undisturbed(stage: Stage) -> Run:
    """Let one trainer learn the whole log."""
    orders, run = stage.of_run("undisturbed", _CALM), Run()
    started = time.monotonic()
    run.ended = fork_server.run(orders, None).ended
    return _judged(stage, orders, run, started)


def _look(stage: Stage, orders: Orders, kill: Kill, run: Run) -> None:
    """After a kill: damage what lies about, and see whether anything was promised that is not there."""
    folder = orders.trainer.checkpoint_dir
    if kill.kept < 1:
        run.torn += tear(folder, kill.kept)
    try:
        found = broken_promises(folder, stage.redis, stage.log, orders.streaming.group)
    except CheckpointError as error:
        found = [str(error)]
    run.broken += [f"after a kill in {kill.phase}: {what}" for what in found]
    tidy(stage.redis)


def _judged(stage: Stage, orders: Orders, run: Run, started: float) -> Run:
    run.seconds = time.monotonic() - started
    checkpoint = CheckpointStore(orders.trainer.checkpoint_dir, 1).newest()
    if checkpoint is not None:
        run.parts = parts(checkpoint.arrays, checkpoint.values)
        run.digest = digest(checkpoint.arrays, checkpoint.values)
    run.dead_letters = stage.dead_letters()
    tidy(stage.redis)
    return run
