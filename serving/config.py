"""Configuration of `serving`."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hsnn.monitoring.duration import Duration
from hsnn.serving.errors import ServerTokenError
from hsnn.serving.limits import RetrievalLimits


class ServingConfig(BaseModel):
    """Configuration of the server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="address to listen on; any but loopback needs token_env or allow_open")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    token_env: str | None = Field(
        None, description="environment variable that holds the bearer token clients must send; none: no token"
    )
    allow_open: bool = Field(False, description="listen on any address without a token")
    k: int = Field(20, ge=1, description="items per answer where the request does not say")
    max_k: int = Field(1000, ge=1, description="most items per answer")
    max_queries: int = Field(4096, ge=1, description="most requests in one call of /v1/retrieve_many")
    max_body: int = Field(8_000_000, ge=1, description="bytes of the largest request body")
    beam: int | None = Field(None, ge=1, description="nodes opened per request; none: what the model was trained with")
    budget: int | None = Field(
        None, ge=1, description="items scored per request; none: what the model was trained with"
    )
    deadline: Duration = Field(5.0, gt=0, description="a call that takes longer is given up")
    answer_log: Path | None = Field(None, description="file to which every answer is appended as a line of JSON")

    @model_validator(mode="after")
    def _closed_or_said_so(self) -> ServingConfig:
        if not (is_loopback(self.host) or self.token_env or self.allow_open):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines: name a variable with a token in token_env, "
                "or set allow_open = true if the network is closed"
            )
        return self

    @property
    def limits(self) -> RetrievalLimits:
        """Limits of every retrieval."""
        return RetrievalLimits(self.k, self.max_k, self.beam, self.budget)

    def token(self) -> str | None:
        """Read the token that clients must send; None for no token.

        Raises
        ------
        ServerTokenError
            The variable that `token_env` names is empty.
        """
        if self.token_env is None:
            return None
        token = os.environ.get(self.token_env, "")
        if not token:
            raise ServerTokenError(f"serving.token_env names {self.token_env}, which is not set; put the token into it")
        return token


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
