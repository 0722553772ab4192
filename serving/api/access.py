"""Who may call: bearer tokens with scopes, each with a rate of its own."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from hsnn.serving.api.token_bucket import NewBucket, TokenBucket
from hsnn.serving.config import Scope, ServingConfig
from hsnn.serving.errors import ForbiddenError, RateLimitError, ServerTokenError, UnauthorizedError


class Token(NamedTuple):
    """A token that callers may send.

    Attributes
    ----------
    secret
        What follows ``Bearer``.
    scopes
        What it is for.
    rate
        Queries per second; None for no limit.
    """

    secret: str
    scopes: frozenset[Scope] = frozenset(Scope)
    rate: float | None = None


class Access:
    """Checks the token of each call, and its rate.

    Parameters
    ----------
    tokens
        By name; without any, every call of `open_scopes` is allowed.
    clock
        Monotonic clock, seconds.
    open_scopes
        What may be called where there are no tokens.
    new_bucket
        Makes the bucket of a name with a rate; None: one of this process.

    Examples
    --------
    >>> now = 0.0
    >>> access = Access({"shop": Token("abc", rate=2.0)}, clock=lambda: now)
    >>> access.admit("bearer abc", Scope.READ), access.admit("Bearer abc", Scope.READ)
    ('shop', 'shop')
    >>> access.admit("bearer abc", Scope.READ)
    Traceback (most recent call last):
    hsnn.serving.errors.RateLimitError: the token 'shop' may send 2 queries per second; send the next in 0.5 s
    >>> now = 1.0
    >>> access.admit("Bearer abc", Scope.READ)
    'shop'
    """

    def __init__(
        self,
        tokens: Mapping[str, Token],
        clock: Callable[[], float] = time.monotonic,
        open_scopes: Collection[Scope] = frozenset(Scope),
        new_bucket: NewBucket | None = None,
    ) -> None:
        self._open_scopes = open_scopes
        self._names = {_digest(token.secret): name for name, token in tokens.items()}
        self._tokens = dict(tokens)
        make = new_bucket or (lambda name, rate: TokenBucket(rate, clock))  # noqa: ARG005 - alone, it needs no name
        self._buckets = {
            name: make(token_bucket_name(name), token.rate) for name, token in tokens.items() if token.rate is not None
        }

    @property
    def is_open(self) -> bool:
        """Whether no token is needed."""
        return not self._tokens

    def authorize(self, header: str, scope: Scope) -> str | None:
        """Return the name of the token in an ``Authorization`` header; None if no token is needed.

        Raises
        ------
        UnauthorizedError
            The header has no known token.
        ForbiddenError
            The token has another scope.
        """
        if not self._tokens:
            if scope in self._open_scopes:
                return None
            raise UnauthorizedError(
                f"this call needs a token with the scope {scope.value!r}, and the server has no tokens; name one in "
                "serving.tokens"
            )
        scheme, _, secret = header.strip().partition(" ")
        sent, name = _digest(secret.strip()), None
        for known, candidate in self._names.items():  # all of them, so that the time tells nothing
            if hmac.compare_digest(sent, known):
                name = candidate
        if name is None or scheme.lower() != "bearer":
            raise UnauthorizedError("send one of the server's tokens as 'Authorization: Bearer TOKEN'")
        if scope not in self._tokens[name].scopes:
            raise ForbiddenError(f"the token {name!r} has no scope {scope.value!r}, which this call needs")
        return name

    def admit(self, header: str, scope: Scope) -> str | None:
        """Authorize a call and count it as one query against its token's rate.

        Raises
        ------
        RateLimitError
            The token has used up its rate; beside what `authorize` raises.
        """
        name = self.authorize(header, scope)
        if name in self._buckets:
            wait = self._buckets[name].take(1)
            if wait > 0:
                rate = self._buckets[name].rate
                raise RateLimitError(
                    f"the token {name!r} may send {rate:g} queries per second; send the next in {wait:.2g} s", wait
                )
        return name

    def charge(self, name: str | None, queries: int) -> None:
        """Count the further queries of an admitted call; the next calls of its token wait for them."""
        if name in self._buckets:
            self._buckets[name].charge(queries)


def token_bucket_name(name: str) -> str:
    """Name the bucket of a token."""
    return f"token {name}"


def _digest(secret: str) -> bytes:
    """Hash a secret, so that comparing takes the same time for every length."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def read_tokens(config: ServingConfig) -> dict[str, Token]:
    """Read the tokens from the environment variables that the configuration names.

    Raises
    ------
    ServerTokenError
        A variable is empty, or two tokens are the same.
    """
    tokens: dict[str, Token] = {}
    for name, token in config.token_variables().items():
        secret = os.environ.get(token.env, "").strip()
        if not secret:
            raise ServerTokenError(
                f"the serving token {name!r} is read from {token.env}, which is not set; put the token into it"
            )
        same = next((other for other, known in tokens.items() if known.secret == secret), None)
        if same is not None:
            raise ServerTokenError(f"the serving tokens {same!r} and {name!r} are the same; give each its own")
        tokens[name] = Token(secret, frozenset(token.scopes), token.rate)
    return tokens
