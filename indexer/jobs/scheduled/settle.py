"""Job `settle`: index what is unassigned, remove what has expired."""

from hsnn.indexer.jobs.scheduled_job import ScheduledJob

JOB = ScheduledJob(create=lambda services: services.index_jobs.reconcile, every=lambda config: config.item_sweep)
