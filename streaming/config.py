"""Configuration of `streaming`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from hsnn.monitoring.discovery import module_names
from hsnn.monitoring.duration import Duration
from hsnn.monitoring.section import Section

SCHEMES_PACKAGE = "hsnn.streaming.log.schemes"
"""Package whose modules open event logs, each the addresses of the scheme that it is named after."""

OnLostOffsets = Literal["fail", "earliest", "latest"]
"""What to do if the log does not hold the next record."""


def log_schemes() -> tuple[str, ...]:
    """Name the schemes of the addresses of event logs, without importing a client.

    Examples
    --------
    >>> log_schemes()
    ('kafka', 'redis', 'rediss', 'unix')
    """
    return module_names(SCHEMES_PACKAGE)


class StreamingConfig(Section):
    """Where events come from, how they are batched, and which are rejected."""

    log: str = Field(
        "redis://127.0.0.1:6379/0",
        description="the event log: kafka://HOST:PORT[,HOST:PORT...][?option=value] or redis://...",
    )
    group: str = Field(
        "hsnn", min_length=1, description="name under which the trainer publishes its committed positions"
    )
    engagements_topic: str = Field("engagements", min_length=1, description="topic of interactions and impressions")
    items_topic: str = Field("items", min_length=1, description="topic of items, compacted")
    users_topic: str = Field("users", min_length=1, description="topic of users, compacted")
    control_topic: str = Field("control", min_length=1, description="topic of commands to the trainer")
    partitions: int = Field(4, ge=1, description="partitions of a topic that does not exist yet")
    on_lost_offsets: OnLostOffsets = Field(
        "fail",
        description="if the log does not hold the next record (any more, or yet): fail, or go on at earliest or latest",
    )
    batch_size: int = Field(512, ge=1, description="interactions per training batch")
    max_future: Duration = Field(
        600.0,
        description="an event further than this ahead of the moment at which it was sent goes to the dead letters; the "
        "watermark follows an event that is further than this ahead of it only once most of the last users agree",
    )
    max_past: Duration = Field(
        365 * 86400.0, description="an event further than this behind the watermark goes to the dead letters"
    )
    max_wait: Duration = Field(0.2, description="how long a batch may wait for more events before it is closed short")
    patience: Duration = Field(
        300.0, description="how long the trainer retries while the log or Redis is unavailable, before it ends"
    )
    drop_above: Duration | None = Field(
        None,
        gt=0,
        description="when the next engagement was sent longer than this ago, engagements are dropped until they are "
        "fresh again; none: never. Not with streaming.tasks",
    )
    drop_below: Duration = Field(5.0, ge=0, description="how fresh they are when dropping ends; below drop_above")
    tasks: tuple[str, ...] = Field(
        (),
        max_length=32,
        description="actions that are labels of impressions; none: impressions only make items known",
    )
    attribution_window: Duration = Field(
        600.0, gt=0, description="stream time after which a shown item without an action is a negative"
    )
    joiner_capacity: int = Field(
        100_000, ge=1, description="shown items that may wait for actions; beyond it the oldest are labelled early"
    )
    dedup_window: Duration = Field(
        172_800.0,
        description="stream time within which an event that was seen before, by id, user, item and action, is dropped; "
        "0s: never",
    )
    dead_letter_share: float | None = Field(
        0.5,
        gt=0,
        lt=1,
        description="the consumer halts if more than this share of a topic's last events are dead letters; none: never",
    )
    dead_letter_window: int = Field(1000, ge=1, description="how many last events of a topic that is a share of")

    @model_validator(mode="after")
    def _can_drop(self) -> Self:
        if self.drop_above is None:
            return self
        if self.drop_below >= self.drop_above:
            raise ValueError(f"drop_below ({self.drop_below:g}s) must be less than drop_above ({self.drop_above:g}s)")
        if self.tasks:
            raise ValueError("drop_above cannot go with tasks: a dropped action would make its impression a negative")
        return self

    @model_validator(mode="after")
    def _topics_differ(self) -> Self:
        names = {"engagements_topic", "items_topic", "users_topic", "control_topic"}
        topics = {name: getattr(self, name) for name in sorted(names)}
        for name, topic in topics.items():
            same = [other for other, also in topics.items() if also == topic]
            if len(same) > 1:
                raise ValueError(f"{' and '.join(same)} are both {topic!r}; each kind of event has a topic of its own")
            if topic.endswith(".dlq"):
                raise ValueError(f"{name} = {topic!r}: topics whose name ends in .dlq hold dead letters")
        return self

    @field_validator("tasks")
    @classmethod
    def _once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) < len(tasks):
            raise ValueError(f"an action is named twice in {list(tasks)}; each task is one action")
        return tasks
