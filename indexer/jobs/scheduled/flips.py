"""Job `flips`: return from a version that serves worse than the one before it."""

from hsnn.indexer.jobs.flip_watch import FlipWatch
from hsnn.indexer.jobs.runner import Work
from hsnn.indexer.jobs.scheduled_job import JobServices, ScheduledJob
from hsnn.monitoring.notify import Notifier

EVERY = 5.0
"""Seconds between two looks: a flip that hurts is to be undone within a minute."""


def _create(services: JobServices) -> Work | None:
    if not services.config.quality_gate:
        return None
    return FlipWatch(services.leader, services.audit, Notifier(services.monitoring.notify)).check


JOB = ScheduledJob(create=_create, every=lambda config: EVERY)  # noqa: ARG005
