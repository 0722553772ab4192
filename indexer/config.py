"""The part of the configuration that `indexer` owns."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from hsnn.monitoring.duration import Duration


class IndexerConfig(BaseModel):
    """How the scheduler keeps the index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lease_ttl: Duration = Field(5.0, gt=0, description="a leader that is silent for so long is replaced")
    shards: int = Field(
        1, ge=1, description="over so many shards the items of new versions are spread, each in one slot of a cluster"
    )
    versions_kept: int = Field(3, ge=3, description="newest versions kept in Redis, to roll back to")
    snapshots_kept: int = Field(2, ge=1, description="newest snapshots kept; versions hold copies of theirs")
    refresh_sweep: Duration = Field(5.0, gt=0, description="look again for snapshots whose announcement was missed")
    alarm_sweep: Duration = Field(5.0, gt=0, description="look again for alarms without an answer")
    item_sweep: Duration = Field(1.0, gt=0, description="look again for items left unassigned or due for expiry")
    verify_interval: Duration = Field(
        60.0, gt=0, description="time between checks of a version, at least; they rest 19 times as long as one takes"
    )
    retention_interval: Duration = Field(30.0, gt=0, description="time between removals of old versions and snapshots")
    move_margin: float = Field(
        0.5,
        ge=0,
        description="an item leaves its node only if that is farther than the nearest one by more than this share",
    )
    node_over_mean: float = Field(
        8.0, ge=1, description="most items per node, as a multiple of the mean; who finds a node full goes to the next"
    )
    node_floor: int = Field(64, ge=1, description="a node may always hold so many items, whatever the mean")
    sweep_interval: Duration = Field(1.0, gt=0, description="time between parts of the rolling sweep over the items")
    sweep_rate: float = Field(1000.0, gt=0, description="items per second that the rolling sweep looks at")
    rebalance_interval: Duration = Field(30.0, gt=0, description="time between looks at how full the nodes are")
    rebalance_pause: Duration = Field(600.0, gt=0, description="time between two commands to the trainer to rebalance")
    rebalance_over_mean: float = Field(
        5.0, gt=1, description="a node with more than so many times the mean, and more than `node_floor`, is split"
    )
    rebalance_starved: float = Field(
        0.05, ge=0, le=1, description="share of nodes with next to no items above which they are merged away"
    )
    jitter: float = Field(
        0.1,
        ge=0,
        le=1,
        description="each sweep waits longer by up to this share: deployments do not beat together",
    )
    job_timeout: Duration = Field(
        600.0, gt=0, description="a job that takes longer raises an alarm and stops at its next safe point"
    )
    alarm_patience: Duration = Field(
        10.0, ge=0, description="how long an alarm's answer waits for the alarm's snapshot"
    )
    write_chunk: int = Field(500, ge=1, description="items per atomic write")
    encode_chunk: int = Field(65_536, ge=1, description="items encoded and assigned at once")
    threads: int = Field(1, ge=1, description="torch threads of the scheduler")
