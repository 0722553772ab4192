"""The model of the whole configuration: the sections of all rooms, composed."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hsnn.config.digest import config_digest
from hsnn.config.keys import Key, keys
from hsnn.config.masking import mask_address
from hsnn.indexer.config import IndexerConfig
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.section import Section
from hsnn.serving.config import ServingConfig
from hsnn.streaming.config import StreamingConfig, log_schemes
from hsnn.streaming.redis.client import URL_SCHEMES
from hsnn.streaming.redis.keys import DEFAULT_PREFIX, LONGEST_PREFIX, PREFIX_PATTERN
from hsnn.trainer.config.model import TrainerConfig


class RedisConfig(Section):
    """Where the index lives."""

    url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey, 7 or newer: redis://[user:password@]HOST:PORT/DB or rediss://...; "
        "redis+cluster://HOST:PORT, one node of a Redis Cluster",
    )

    prefix: str = Field(
        DEFAULT_PREFIX,
        pattern=PREFIX_PATTERN,
        max_length=LONGEST_PREFIX,
        description="first part of the names of all keys; several catalogues on one Redis have one each, and topics, "
        "group, checkpoints and ports of their own",
    )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        if url.partition("://")[0] not in URL_SCHEMES or "://" not in url:
            raise ValueError(
                f"an address of Redis begins with one of {', '.join(f'{name}://' for name in URL_SCHEMES)}"
            )
        return url


class Config(BaseSettings):
    """Everything that can be configured; `hsnn.load` reads it from its sources, ``Config()`` has defaults only."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    redis: RedisConfig = RedisConfig()
    streaming: StreamingConfig = StreamingConfig()
    trainer: TrainerConfig = TrainerConfig()
    indexer: IndexerConfig = IndexerConfig()
    serving: ServingConfig = ServingConfig()
    monitoring: MonitoringConfig = MonitoringConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the names are pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read constructor arguments only: `hsnn.config.loader.load` merges the sources and records the origins."""
        return (init_settings,)

    @model_validator(mode="after")
    def _known_log(self) -> Self:
        scheme, separator, _ = self.streaming.log.partition("://")
        if not separator or scheme not in log_schemes():
            schemes = ", ".join(f"{scheme}://" for scheme in log_schemes())
            raise ValueError(
                f"streaming.log is {mask_address(self.streaming.log)!r}; a log begins with one of {schemes}"
            )
        return self

    @model_validator(mode="after")
    def _same_tasks(self) -> Self:
        joined, learned = self.streaming.tasks, self.trainer.model.tasks
        if learned and learned != joined:
            raise ValueError(
                f"trainer.model.tasks is {list(learned)}, but streaming.tasks, by which impressions are joined, is "
                f"{list(joined)}; make them the same"
            )
        return self

    @model_validator(mode="after")
    def _arms_name_other_indexes(self) -> Self:
        for name, arm in self.serving.experiment.arms.items():
            if arm.prefix == self.redis.prefix:
                raise ValueError(
                    f"serving.experiment.arms.{name}.prefix is {arm.prefix!r}, as redis.prefix is: leave it out to "
                    "answer from the server's own index, or name the prefix of another loop"
                )
        return self

    def digest(self) -> str:
        """Compute the SHA-256 of the configuration without its secrets; checkpoints and versions carry it."""
        return config_digest(self)


def known_keys() -> dict[str, Key]:
    """Return all keys of the configuration by dotted name, in order."""
    return {key.name: key for key in keys(Config)}
