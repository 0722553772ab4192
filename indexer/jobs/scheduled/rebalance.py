"""Job `rebalance`: have the trainer change nodes that are too full or nearly empty."""

from hsnn.indexer.jobs.rebalance import Rebalancer
from hsnn.indexer.jobs.runner import Work
from hsnn.indexer.jobs.scheduled_job import JobServices, ScheduledJob


def _create(services: JobServices) -> Work | None:
    if services.send is None:
        return None
    return Rebalancer(services.leader, services.config, services.audit, services.send).check


JOB = ScheduledJob(create=_create, every=lambda config: config.rebalance_interval)
