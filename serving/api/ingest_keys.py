"""Ingest keys: public keys with which pages in browsers send events, from known origins and at a bounded rate."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

from hsnn.serving.api.token_bucket import NewBucket, TokenBucket
from hsnn.serving.config import IngestKeyConfig
from hsnn.serving.errors import ForbiddenError, RateLimitError, UnauthorizedError

# Addresses per key whose rate is remembered: some megabytes. Beyond it the one that was silent longest is forgotten.
_MOST_ADDRESSES = 20_000

# Bits of an IPv6 address that a subscriber does not choose.
_SUBSCRIBER_BITS = 64


class IngestKeys:
    """Checks key, origin and rate of calls from browsers.

    Parameters
    ----------
    keys
        By name.
    clock
        Monotonic clock, seconds.
    new_bucket
        Makes the bucket of a name with a rate; None: one of this process.

    Examples
    --------
    >>> key = IngestKeyConfig(key="pk_0123456789abcdef", origins=("https://shop.example",), address_rate=2.0)
    >>> keys = IngestKeys({"shop": key}, clock=lambda: 0.0)
    >>> keys.admit("pk_0123456789abcdef", "https://shop.example", "192.0.2.1")
    'shop'
    >>> keys.charge("shop", "192.0.2.1", 1)
    >>> keys.admit("pk_0123456789abcdef", "https://shop.example", "192.0.2.1")
    Traceback (most recent call last):
    hsnn.serving.errors.RateLimitError: one address may send 2 events per second with this key; send again in 0.5 s
    """

    def __init__(
        self,
        keys: Mapping[str, IngestKeyConfig],
        clock: Callable[[], float] = time.monotonic,
        new_bucket: NewBucket | None = None,
    ) -> None:
        self._new_bucket = new_bucket or (lambda name, rate: TokenBucket(rate, clock))  # noqa: ARG005 - as in `Access`
        self._names = {config.key: name for name, config in keys.items()}
        self._configs = dict(keys)
        self._all = {name: self._new_bucket(key_bucket_name(name), config.rate) for name, config in keys.items()}
        self._addresses: dict[str, OrderedDict[str, TokenBucket]] = {name: OrderedDict() for name in keys}

    def authorize(self, key: str, origin: str) -> str:
        """Return the name of a key that may be used from an origin, ``scheme://host[:port]``.

        Raises
        ------
        UnauthorizedError
            The key is not known, or no longer.
        ForbiddenError
            It is not for this origin.
        """
        name = self._names.get(key)
        if name is None:
            raise UnauthorizedError("this ingest key is not known here, or was taken back")
        origins = self._configs[name].origins
        if not origin or not ("*" in origins or origin in origins):
            raise ForbiddenError(f"the ingest key {name!r} is not for pages of {origin or 'no origin'}")
        return name

    def admit(self, key: str, origin: str, address: str) -> str:
        """Authorize a call and count it as one event against the rates of the address and of the key.

        Raises
        ------
        RateLimitError
            A rate is used up; beside what `authorize` raises.
        """
        name = self.authorize(key, origin)
        config = self._configs[name]
        # The address first: one sender alone must not use up what is there for all.
        if wait := self._bucket(name, address).take(1):
            raise RateLimitError(
                f"one address may send {config.address_rate:g} events per second with this key; send again in "
                f"{wait:.2g} s",
                wait,
            )
        if wait := self._all[name].take(1):
            raise RateLimitError(
                f"the ingest key {name!r} may send {config.rate:g} events per second; send again in {wait:.2g} s", wait
            )
        return name

    def charge(self, name: str, address: str, events: int) -> None:
        """Count the further events of an admitted call; the next calls wait for them."""
        self._bucket(name, address).charge(events)
        self._all[name].charge(events)

    def _bucket(self, name: str, address: str) -> TokenBucket:
        buckets, network = self._addresses[name], _network(address)
        bucket = buckets.pop(network, None)
        if bucket is None:
            bucket = self._new_bucket(f"address {name} {network}", self._configs[name].address_rate)
            if len(buckets) >= _MOST_ADDRESSES:
                buckets.popitem(last=False)
        buckets[network] = bucket  # the last one: the first is the one that was silent longest
        return bucket


def key_bucket_name(name: str) -> str:
    """Name the bucket of a key, for all of its senders."""
    return f"key {name}"


def _network(address: str) -> str:
    """Return an address, of IPv6 the network of its subscriber.

    Examples
    --------
    >>> _network("192.0.2.1"), _network("2001:db8::1:2:3:4"), _network("testclient")
    ('192.0.2.1', '2001:db8::', 'testclient')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(ipaddress.ip_network((parsed, _SUBSCRIBER_BITS), strict=False).network_address)
