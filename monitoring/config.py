"""The section `monitoring` of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hsnn.monitoring.duration import Duration
from hsnn.monitoring.section import Section

Action = Literal["refresh", "rebalance", "rates", "hold", "rollback", "notify", "none"]
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


class WatchConfig(Section):
    """How a signal is watched."""

    baseline: int = Field(
        32, ge=16, description="windows that tell what is usual of a signal, at the start and after an alarm"
    )
    effect: float = Field(
        6.0, gt=0, description="an alarm needs a shift by so many robust standard deviations of the signal before it"
    )
    persistence: int = Field(3, ge=1, description="windows that a shift must last")
    cool_down: int = Field(64, ge=0, description="windows after an alarm of a signal before its next one")
    seasonal: bool = Field(
        True, description="an alarm must differ from the same hour of yesterday and of last week, too, where it matters"
    )


class SignalConfig(Section):
    """Settings of one signal; those that are none are the common ones."""

    enabled: bool = Field(True, description="watch it")
    detector: str | None = Field(None, description="adwin, page_hinkley, kswin or psi; none: the signal's own")
    effect: float | None = Field(None, gt=0, description="as monitoring.drift.watch.effect")
    persistence: int | None = Field(None, ge=1, description="as monitoring.drift.watch.persistence")
    cool_down: int | None = Field(None, ge=0, description="as monitoring.drift.watch.cool_down")


class DriftConfig(Section):
    """Signals of drift: measured per window of the stream, and watched."""

    enabled: bool = Field(True, description="measure and watch the signals; their list is in docs/drift.md")
    window: int = Field(1024, ge=64, description="interactions per window, at least; it ends with a batch")
    watch: WatchConfig = WatchConfig()
    signals: dict[str, SignalConfig] = Field({}, description="settings of single signals by name")


class NotifyConfig(Section):
    """Who is told of alarms and actions, beside the log."""

    webhook: str = Field("", description="URL that gets each as a JSON object; empty: none")
    secret_env: str = Field(
        "", description="environment variable with the secret that signs webhooks (HMAC-SHA256); empty: not signed"
    )
    smtp: str = Field("", description="HOST:PORT of the mail server; empty: no mail")
    mail_from: str = Field("hsnn@localhost", description="sender of mails")
    mail_to: str = Field("", description="receiver of mails")
    timeout: Duration = Field(5.0, gt=0, description="a channel that does not answer within this is given up")


class ActionsConfig(Section):
    """Limits of the actions on alarms; `refresh`, `notify` and `none`, which cannot harm, have none."""

    dry_run: bool = Field(False, description="record what would be done, and do nothing but refresh and notify")
    per_hour: int = Field(4, ge=0, description="actions of all kinds within an hour, at most")
    cool_down: Duration = Field(600.0, ge=0, description="time between two actions on alarms of one kind")
    forget: Duration = Field(
        604_800.0, ge=0, description="an action that did not help is not taken on the same kind of alarm for this long"
    )
    rate_factor: float = Field(3.0, gt=1, le=10, description="factor of the learning rates while `rates` lasts")
    rate_for: Duration = Field(3600.0, gt=0, description="stream time that `rates` lasts")
    measure_windows: int = Field(
        8, ge=4, le=12, description="windows of the signal before and after an action that tell whether it helped"
    )
    measure_within: Duration = Field(3600.0, gt=0, description="an effect that is not measured by then stays unknown")


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
    drift: DriftConfig = DriftConfig()
    actions: ActionsConfig = ActionsConfig()
    notify: NotifyConfig = NotifyConfig()
    rules: dict[str, Action] = Field(
        {"loss_drift": "refresh", "mix_drift": "refresh", "mass_expiry": "notify"},
        description="what the scheduler does about an alarm, by its kind: refresh, rebalance, rates, hold, rollback, "
        "notify or none",
    )
