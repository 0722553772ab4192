"""Checks of Redis: its version, whether it keeps what it is given, its clock, and who writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from redis.exceptions import RedisError

from hsnn.config.masking import mask_address
from hsnn.config.schema import Config
from hsnn.doctor.arm_indexes import check_arm_indexes
from hsnn.doctor.finding import Finding
from hsnn.doctor.owners import check_owners
from hsnn.streaming.redis.client import Redis, connect, server_infos
from hsnn.streaming.redis.clock import seconds_ahead

# Share of `maxmemory` in use from which on the next version may not fit beside those that are kept.
_NEARLY_FULL = 0.7

# Seconds that clocks may differ: freshness is measured across them. Beyond the second, times of events are misjudged.
_SKEW_SECONDS, _BAD_SKEW_SECONDS = 1.0, 60.0

# Policies under which only keys with an expiry are removed: leases and marks of the log, not the index.
_VOLATILE = "volatile"


def check_redis_server(config: Config) -> Iterator[Finding]:
    """Check the Redis of the index, which must answer."""
    client = connect(config.redis.url)
    try:
        infos = server_infos(client)
        yield _version(mask_address(config.redis.url), infos)
        log_here = config.streaming.log.startswith(("redis", "unix")) and _place(config.streaming.log) == _place(
            config.redis.url
        )
        yield check_memory(infos)
        yield check_persistence(infos, _saves(client), holds_log=log_here)
        yield check_clock(-seconds_ahead(client))
        yield check_owners(client, config.trainer.checkpoint_dir)
        yield from check_arm_indexes(client, config)
    finally:
        client.close()


def check_memory(infos: list[dict[str, Any]]) -> Finding:
    """Check that the servers throw nothing away, and have room."""
    for info in infos:
        policy, limit = str(info.get("maxmemory_policy", "noeviction")), int(info.get("maxmemory", 0))
        used = int(info.get("used_memory", 0))
        if policy != "noeviction":
            removed = "leases and marks of the log" if policy.startswith(_VOLATILE) else "the index and events"
            text = f"maxmemory-policy is {policy}: Redis may throw away {removed}; set it to noeviction"
            # without a limit nothing is removed, until somebody sets one
            return Finding("redis memory", "fail" if limit else "warn", text)
        if limit and used > _NEARLY_FULL * limit:
            share = f"{used / limit:.0%} of maxmemory = {limit / 2**20:,.0f} MiB is used"
            text = f"{share}; writes are refused at 100%: raise it"
            return Finding("redis memory", "warn", text)
    return Finding("redis memory", "ok", "nothing is evicted")


def check_persistence(infos: list[dict[str, Any]], saves: str | None, *, holds_log: bool) -> Finding:
    """Check that the servers keep their data over a restart; `saves` is their option ``save``, None if not readable."""
    name = "redis persistence"
    if all(int(info.get("aof_enabled", 0)) for info in infos):
        return Finding(name, "ok", "append-only file")
    if holds_log:
        lost = "events since then are lost with a restart" if saves else "all events are lost with a restart"
    else:
        lost = "the index is published again after a restart"
    if saves is None:
        return Finding(name, "warn", f"no append-only file, and the option `save` cannot be read; without one {lost}")
    kept = f"snapshots only (save {saves}): {lost}" if saves else f"none: {lost}"
    return Finding(name, "fail" if holds_log and not saves else "warn", f"{kept}; set appendonly yes")


def check_clock(offset: float) -> Finding:
    """Check how far the clock of Redis is ahead of this machine's, in seconds."""
    text = f"this machine's clock is {abs(offset):.1f} s {'behind' if offset > 0 else 'ahead of'} that of Redis"
    if abs(offset) <= _SKEW_SECONDS:
        return Finding("clock", "ok", f"within {_SKEW_SECONDS:g} s of that of Redis")
    return Finding("clock", "fail" if abs(offset) > _BAD_SKEW_SECONDS else "warn", f"{text}; run NTP on both")


def _version(address: str, infos: list[dict[str, Any]]) -> Finding:
    servers = {
        f"{info.get('server_name', 'redis')} {info.get('valkey_version', info['redis_version'])}" for info in infos
    }
    server = " and ".join(sorted(servers)) + (f", {len(infos)} primaries" if len(infos) > 1 else "")
    if any(int(str(info["redis_version"]).partition(".")[0]) < 7 for info in infos):
        return Finding("redis", "fail", f"{address} is {server}; version 7 or newer is needed")
    return Finding("redis", "ok", f"{address} is {server}")


def _saves(client: Redis) -> str | None:
    """Read the option ``save`` of the servers; None if that is not allowed or they differ."""
    try:
        found: Any = client.config_get("save")
    except RedisError:
        return None
    text = found.get("save", b"") if isinstance(found, dict) else None
    return text.decode() if isinstance(text, bytes) else text


def _place(url: str) -> tuple[str, str]:
    """Host and path of an address: where its data is."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2], parts.path.strip("/") or "0"
