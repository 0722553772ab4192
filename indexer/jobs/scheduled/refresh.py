"""Job `refresh`: publish the newest snapshot."""

from hsnn.indexer.jobs.scheduled_job import ScheduledJob

JOB = ScheduledJob(
    create=lambda services: services.index_jobs.refresh,
    every=lambda config: config.refresh_sweep,
    stream="snapshots",
)
