"""Job `clean`: remove old versions, snapshots and stream entries."""

from hsnn.indexer.jobs.scheduled_job import ScheduledJob

JOB = ScheduledJob(create=lambda services: services.index_jobs.clean, every=lambda config: config.retention_interval)
