"""The section `monitoring` of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hsnn.monitoring.duration import Duration
from hsnn.monitoring.section import Section

Action = Literal["refresh", "none"]
"""Actions of the scheduler on an alarm."""


class LossDriftConfig(Section):
    """Drift detector on the prequential loss, the loss of a batch before it is trained on."""

    enabled: bool = Field(True, description="watch the prequential loss with ADWIN")
    delta: float = Field(
        0.002, gt=0, lt=1, description="ADWIN's confidence: smaller is slower and raises fewer false alarms"
    )
    min_rise: float = Field(0.1, ge=0, description="a rise smaller than this share of the loss before it is no alarm")
    warm_up: int = Field(
        50, ge=0, description="batches after the start before the first alarm: the young model still learns"
    )
    cool_down: int = Field(50, ge=0, description="batches after an alarm before the next one")
    memory: int = Field(2000, ge=64, description="losses kept for a restart; beyond them the older half is forgotten")


class MixDriftConfig(Section):
    """Drift detector on the distribution of engaged items."""

    enabled: bool = Field(True, description="watch the item mix with the population stability index (PSI)")
    window: int = Field(4096, ge=16, description="interactions per compared window")
    groups: int = Field(16, ge=1, description="hash groups of items whose shares are compared")
    threshold: float = Field(
        0.25, gt=0, description="a PSI below this is never an alarm; 0.25 is the customary 'major shift'"
    )
    ratio: float = Field(
        2.0, ge=1, description="an alarm needs this many times the usual PSI, the 90% quantile of the last windows"
    )
    warm_up: int = Field(8, ge=0, description="windows compared before the first alarm; they tell what is usual")
    cool_down: int = Field(4, ge=0, description="windows after an alarm before the next one")


class GateConfig(Section):
    """Quality gate: holds snapshots back while the loss is much worse than usual."""

    enabled: bool = Field(True, description="hold snapshots back while the prequential loss is off a cliff")
    margin: float = Field(0.2, gt=0, description="a recent loss beyond the usual one by this share of it is a cliff")
    recent: int = Field(2048, ge=1, description="events that the recent loss is a running mean over")
    usual: int = Field(50_000, ge=1, description="events that the usual loss is a running mean over")
    patience: int = Field(1024, ge=1, description="events for which the loss must be that bad before the gate closes")
    warm_up: int = Field(20_000, ge=0, description="events after the start before the gate may close")


class MonitoringConfig(Section):
    """Metrics and health endpoints, detectors, and actions on alarms."""

    host: str = Field("127.0.0.1", description="address on which trainer and scheduler show metrics and health")
    trainer_port: int = Field(
        9101, ge=0, le=65535, description="port of the trainer's metrics and health; 0 takes a free one"
    )
    scheduler_port: int = Field(
        9102, ge=0, le=65535, description="port of the scheduler's metrics and health; 0 takes a free one"
    )
    stalled_after: Duration = Field(
        30.0, gt=0, description="a loop without progress for this long makes its process not live"
    )
    worker_timeout: Duration = Field(
        60.0, gt=0, description="under torchrun: a worker silent for this and `streaming.patience` is taken for lost"
    )
    stuck_after: Duration = Field(
        120.0, gt=0, description="a trainer that has events waiting and learns none for this long is not live"
    )
    gradient_limit: float | None = Field(
        1000.0,
        gt=1,
        description="a step whose gradient's norm is beyond this many times the usual is left out; none: no limit",
    )
    gate: GateConfig = GateConfig()
    audit_length: int = Field(10_000, ge=1, description="entries kept in the audit trail, at least")
    loss_drift: LossDriftConfig = LossDriftConfig()
    mix_drift: MixDriftConfig = MixDriftConfig()
    rules: dict[str, Action] = Field(
        {"loss_drift": "refresh", "mix_drift": "refresh"},
        description="what the scheduler does about an alarm, by its kind: refresh or none",
    )
