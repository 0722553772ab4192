"""Whether the killed run is the undisturbed one, in words."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.crash.log_filler import Filled
from benchmarks.crash.plan import least
from benchmarks.crash.runs import Run
from hsnn.monitoring.process.failpoints import PHASES

_MOST = 12


def differences(killed: Run, calm: Run, filled: Filled, kills: int) -> list[str]:
    """Say everything that is not as it must be; empty if nothing is.

    Parameters
    ----------
    kills
        How many were asked for; every phase must have had its share.
    """
    done, wanted = sum(killed.hits.values()), least(kills)
    hits = [f"{done} kills were done, asked for {kills}: the log ended before"] if done < kills else []
    hits += [
        f"{phase} was hit {killed.hits[phase]} times, asked for {wanted}"
        for phase in PHASES
        if killed.hits[phase] < wanted
    ]
    accounts = [
        f"{name} run: {what}"
        for name, run in (("killed", killed), ("undisturbed", calm))
        for what in _account(run, filled)
    ]
    return [*_parts(killed.parts, calm.parts), *accounts, *hits, *killed.broken]


def _parts(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Names of the arrays and values that differ; `hsnn.trainer.checkpoint.digest.parts` has one line for each."""
    names = sorted({line.split()[1] for line in set(ours) ^ set(theirs)})
    if not names:
        return [] if ours else ["there is no checkpoint at the end"]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return [f"the digests differ, in {', '.join(names[:_MOST])}{more}"]


def _account(run: Run, filled: Filled) -> list[str]:
    """Produced = trained + dead-lettered + dropped + pending, and each as the log was filled."""
    if run.ended is None:
        return ["it did not reach the end of the log"]
    ended, found = run.ended, []
    events = filled.produced - filled.broken - filled.twice
    if filled.produced != sum(ended):
        found.append(f"{filled.produced} produced is not {' + '.join(map(str, ended))} = {sum(ended)}")
    if (ended.trained, ended.dead_lettered, ended.dropped) != (events, filled.broken, filled.twice):
        found.append(f"{events} events, {filled.broken} broken, {filled.twice} twice became {ended}")
    if run.dead_letters != filled.broken:
        found.append(f"{run.dead_letters} dead letters are in the log, {filled.broken} records are broken")
    return found
