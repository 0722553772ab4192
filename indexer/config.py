"""Configuration of the scheduler and of the index."""

from __future__ import annotations

from pydantic import Field

from hsnn.monitoring.duration import Duration
from hsnn.monitoring.section import Section


class IndexerConfig(Section):
    """Settings of the scheduler and of the index."""

    lease_ttl: Duration = Field(
        5.0, gt=0, description="time after which a leader that does not renew its lease is replaced"
    )
    shards: int = Field(
        1, ge=1, description="shards over which the items of new versions are spread, each in one slot of a cluster"
    )
    versions_kept: int = Field(3, ge=3, description="newest versions kept in Redis, to roll back to")
    snapshots_kept: int = Field(2, ge=1, description="newest snapshots kept; versions keep what they were made of")
    refresh_sweep: Duration = Field(
        5.0, gt=0, description="interval of looking for snapshots whose announcement was missed"
    )
    alarm_sweep: Duration = Field(5.0, gt=0, description="interval of looking for alarms that were not handled")
    item_sweep: Duration = Field(
        1.0, gt=0, description="interval of looking for items that are unassigned or due for expiry"
    )
    verify_interval: Duration = Field(
        60.0, gt=0, description="least time between two verifications, which also rest 19 times as long as one takes"
    )
    retention_interval: Duration = Field(30.0, gt=0, description="time between removals of old versions and snapshots")
    move_margin: float = Field(
        0.5,
        ge=0,
        description="an item leaves its node only if that is farther than the nearest one by more than this share",
    )
    node_over_mean: float = Field(
        8.0,
        ge=1,
        description="most items per node, as a multiple of the mean; an item whose node is full goes to the next",
    )
    node_floor: int = Field(64, ge=1, description="items that a node may always hold, whatever the mean")
    sweep_interval: Duration = Field(
        1.0, gt=0, description="time between two steps of the rolling sweep over the items"
    )
    sweep_rate: float = Field(1000.0, gt=0, description="items per second that the rolling sweep checks")
    rebalance_interval: Duration = Field(30.0, gt=0, description="time between two checks of how full the nodes are")
    rebalance_pause: Duration = Field(600.0, gt=0, description="time between two commands to the trainer to rebalance")
    rebalance_over_mean: float = Field(
        5.0, gt=1, description="a node with more than so many times the mean, and more than `node_floor`, is split"
    )
    rebalance_starved: float = Field(
        0.05, ge=0, le=1, description="share of nearly empty nodes above which they are merged away"
    )
    quality_gate: bool = Field(
        True, description="refuse versions that are damaged or clearly worse than the one in use, and return from them"
    )
    jitter: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of its interval by which a job runs later at random, so that deployments do not run in step",
    )
    job_timeout: Duration = Field(
        600.0, gt=0, description="a job that takes longer raises an alarm and stops at its next safe point"
    )
    alarm_patience: Duration = Field(
        10.0, ge=0, description="how long the handling of an alarm waits for the alarm's snapshot"
    )
    write_chunk: int = Field(500, ge=1, description="items per atomic write")
    encode_chunk: int = Field(65_536, ge=1, description="items encoded and assigned at once")
    threads: int = Field(1, ge=1, description="torch threads of the scheduler")
