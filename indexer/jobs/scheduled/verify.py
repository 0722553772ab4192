"""Job `verify`: verify the current version."""

from hsnn.indexer.jobs.scheduled_job import ScheduledJob

# Rest of the verification as a multiple of the time it took, so that it runs a twentieth of the time: while it reads a
# million items, new ones are indexed more slowly.
_REST = 19.0

JOB = ScheduledJob(
    create=lambda services: services.index_jobs.verify,
    every=lambda config: config.verify_interval,
    rest=_REST,
)
