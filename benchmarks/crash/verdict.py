"""Differences between the killed run and the undisturbed one, in words."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.crash.log_filler import LogContents
from benchmarks.crash.plan import min_hits
from benchmarks.crash.runs import CrashRun
from hsnn.monitoring.process.failpoints import FAILPOINTS

# Names of differing parts in one message: all that come before those of the network, whose layers differ together.
_MAX_NAMES = 40


def differences(killed: CrashRun, undisturbed: CrashRun, contents: LogContents, kills: int) -> list[str]:
    """List every difference; an empty list is a pass.

    Parameters
    ----------
    kills
        How many were asked for; every phase must have had its share.
    """
    done, wanted = sum(killed.hits.values()), min_hits(kills)
    hits = [f"{done} kills were done, asked for {kills}: the log ended before"] if done < kills else []
    hits += [
        f"{phase} was hit {killed.hits[phase]} times, asked for {wanted}"
        for phase in FAILPOINTS
        if killed.hits[phase] < wanted
    ]
    accounts = [
        f"{name} run: {what}"
        for name, run in (("killed", killed), ("undisturbed", undisturbed))
        for what in _account(run, contents)
    ]
    return [*_parts(killed.parts, undisturbed.parts), *accounts, *hits, *killed.broken]


def _parts(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Names of the arrays and values that differ; `hsnn.trainer.checkpoint.digest.parts` has one line for each."""
    names = sorted({line.split()[1] for line in set(ours) ^ set(theirs)})
    if not names:
        return [] if ours else ["there is no checkpoint at the end"]
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return [f"the digests differ, in {', '.join(names[:_MAX_NAMES])}{more}"]


def _account(run: CrashRun, contents: LogContents) -> list[str]:
    """Produced = trained + dead-lettered + dropped + pending, and each as the log was contents."""
    if run.ended is None:
        return ["it did not reach the end of the log"]
    ended, found = run.ended, []
    events = contents.produced - contents.broken - contents.repeated
    if contents.produced != sum(ended):
        found.append(f"{contents.produced} produced is not {' + '.join(map(str, ended))} = {sum(ended)}")
    if (ended.trained, ended.dead_lettered, ended.dropped) != (events, contents.broken, contents.repeated):
        found.append(f"{events} events, {contents.broken} broken, {contents.repeated} twice became {ended}")
    if run.dead_letters != contents.broken:
        found.append(f"{run.dead_letters} dead letters are in the log, {contents.broken} records are broken")
    return found
