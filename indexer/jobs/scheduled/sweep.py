"""Job `sweep`: move items to nodes that have become nearer."""

from hsnn.indexer.jobs.scheduled_job import ScheduledJob

JOB = ScheduledJob(create=lambda services: services.index_jobs.sweep, every=lambda config: config.sweep_interval)
