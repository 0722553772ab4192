"""Configuration of `serving`."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from hsnn.monitoring.duration import Duration
from hsnn.monitoring.section import Section
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.schema import RetrievalMode
from hsnn.streaming.redis.keys import LONGEST_PREFIX, PREFIX_PATTERN

# Most that shares of arms miss 1 by: they are decimal fractions, whose sums are rounded.
_ROUNDING = 1e-9


class Scope(StrEnum):
    """What a token is for."""

    READ = "read"
    """Calls that change nothing."""

    WRITE = "write"
    """Calls that change what is recommended: events, items, users."""


class TokenConfig(Section):
    """A token that clients may send."""

    env: str = Field(min_length=1, description="environment variable that holds it")
    scopes: tuple[Scope, ...] = Field((Scope.READ,), min_length=1, description="what it is for: read, write")
    rate: float | None = Field(None, gt=0, description="queries per second, averaged over a second; none: no limit")


class IngestKeyConfig(Section):
    """A public key with which pages in browsers may send interactions and impressions."""

    key: str = Field(
        pattern=r"^[A-Za-z0-9_-]{16,64}$", description="the key itself; it stands in the page, so it is no secret"
    )
    origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")], ...] = Field(
        min_length=1, description="origins whose pages may send, as in https://shop.example; * for all"
    )
    rate: float = Field(1000.0, gt=0, description="events per second of all senders together")
    address_rate: float = Field(20.0, gt=0, description="events per second from one address")


class ArmConfig(Section):
    """One way to answer in an experiment; what it leaves out is as in the rest of `serving`."""

    share: float = Field(0.0, ge=0, le=1, description="share of the users that it answers")
    shadow: float = Field(
        0.0, ge=0, le=1, description="share of the other users' requests that it answers, too, unseen, to be compared"
    )
    prefix: str | None = Field(
        None,
        pattern=PREFIX_PATTERN,
        max_length=LONGEST_PREFIX,
        description="redis.prefix of another loop on this Redis, whose index answers in place of the server's own",
    )
    mode: RetrievalMode | None = Field(None, description="mode in place of beam")
    beam: int | None = Field(None, ge=1, description="nodes opened per request")
    budget: int | None = Field(None, ge=1, description="items scored per request")


class ExperimentConfig(Section):
    """Comparison of ways to answer, on disjoint groups of users."""

    name: str = Field("", max_length=64, description="draws the groups: another name, other groups")
    arms: dict[str, ArmConfig] = Field(
        {},
        description="ways to answer by name, each a table with share (of the users), mode, beam, budget, prefix (that "
        "of another loop, whose index answers), and shadow (the share of the other users' requests that it answers "
        "unseen); none: no experiment",
    )
    stale_after: Duration = Field(
        600.0,
        gt=0,
        description="an arm's index that stands still for so long while the server's own goes on is replaced by it",
    )

    @property
    def prefixes(self) -> list[str]:
        """Prefixes of the other indexes that arms name."""
        return sorted({arm.prefix for arm in self.arms.values() if arm.prefix is not None})

    @model_validator(mode="after")
    def _everybody_is_in_one_arm(self) -> ExperimentConfig:
        if not self.arms:
            return self
        if not self.name:
            raise ValueError("an experiment with arms needs a name, which draws its groups of users")
        if abs(sum(arm.share for arm in self.arms.values()) - 1) > _ROUNDING:
            shares = ", ".join(f"{name} {arm.share:g}" for name, arm in self.arms.items())
            raise ValueError(f"the shares of the arms must add up to 1, and these do not: {shares}")
        return self


class ServingConfig(Section):
    """Configuration of the server."""

    host: str = Field("127.0.0.1", description="address to listen on; any but loopback needs a token or allow_open")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    token_env: str | None = Field(
        None, description="environment variable that holds the bearer token clients must send; none: no token"
    )
    tokens: dict[str, TokenConfig] = Field(
        {},
        description="further tokens by name, each a table with env (the variable that holds it), scopes (read, write) "
        "and rate (queries per second)",
    )
    ingest_keys: dict[str, IngestKeyConfig] = Field(
        {},
        description="public keys for browsers by name, each a table with key, origins, rate (events per second of all) "
        "and address_rate (of one address)",
    )
    allow_open: bool = Field(False, description="listen on any address without a token; what writes needs one even so")
    tls_cert: Path | None = Field(
        None, description="PEM file with the certificate chain; with tls_key: HTTPS instead of HTTP"
    )
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key, without a password")
    max_connections: int = Field(
        500, ge=1, description="most open connections; one more closes the one that has been idle longest"
    )
    k: int = Field(20, ge=1, description="items per answer where the request does not say")
    max_k: int = Field(1000, ge=1, description="most items per answer")
    max_queries: int = Field(4096, ge=1, description="most requests in one call of /v1/retrieve_many")
    max_body: int = Field(8_000_000, ge=1, description="bytes of the largest request body")
    beam: int | None = Field(None, ge=1, description="nodes opened per request; none: what the model was trained with")
    budget: int | None = Field(
        None,
        ge=1,
        description="items scored per request; none: what the model was trained with",
    )
    engine: bool = Field(
        True,
        description="answer the modes beam, exact and exhaustive, and similar items, by compiled kernels; "
        "they are compiled before the server is ready, at the first start of an installation; without numba the same "
        "is done by plain Python",
    )
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that answer on the port, about one per core; each keeps a mirror of its own",
    )
    deadline: Duration = Field(5.0, gt=0, description="a call that takes longer is given up")
    answer_log: Path | None = Field(None, description="file to which every answer is appended as a line of JSON")
    experiment: ExperimentConfig = ExperimentConfig()

    @model_validator(mode="after")
    def _closed_or_said_so(self) -> ServingConfig:
        if not (is_loopback(self.host) or self.token_env or self.tokens or self.allow_open):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines: name a variable with a token in token_env, "
                "or set allow_open = true if the network is closed"
            )
        return self

    @model_validator(mode="after")
    def _default_within_limit(self) -> ServingConfig:
        if self.k > self.max_k:
            raise ValueError(f"k = {self.k} is above max_k = {self.max_k}; every request without a k would be refused")
        return self

    @model_validator(mode="after")
    def _keys_differ(self) -> ServingConfig:
        if len({key.key for key in self.ingest_keys.values()}) < len(self.ingest_keys):
            raise ValueError("two ingest_keys are the same; give each its own, so that one can be taken back alone")
        return self

    @model_validator(mode="after")
    def _a_connection_per_worker(self) -> ServingConfig:
        if self.max_connections < self.workers:
            raise ValueError(
                f"max_connections = {self.max_connections} is below workers = {self.workers}; each needs one at least"
            )
        return self

    @model_validator(mode="after")
    def _certificate_with_key(self) -> ServingConfig:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: set both, or neither")
        return self

    @property
    def limits(self) -> RetrievalLimits:
        """Limits of every retrieval."""
        return RetrievalLimits(self.k, self.max_k, self.beam, self.budget, whole_leaves=self.engine)

    def token_variables(self) -> dict[str, TokenConfig]:
        """Return all tokens by name; that of `token_env` is called ``default`` and has every scope."""
        default = {} if self.token_env is None else {"default": TokenConfig(env=self.token_env, scopes=tuple(Scope))}
        return default | self.tokens


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
