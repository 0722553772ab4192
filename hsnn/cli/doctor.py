"""``hsnn doctor``: whether this machine is fit, and whether what the configuration points to answers."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from hsnn.cli.error_messages import sentence
from hsnn.config.masking import mask_address
from hsnn.config.schema import Config

State = Literal["ok", "warn", "fail"]
_GIB = 2**30


class Finding(NamedTuple):
    """What a check found.

    Attributes
    ----------
    name
        What was checked.
    state
        ``ok``, ``warn`` (works, but slowly or not for long) or ``fail``.
    text
        What was found, and what to do about it.
    """

    name: str
    state: State
    text: str


def examine(config: Config) -> list[Finding]:
    """Make all checks; none of them changes anything."""
    checks: tuple[Callable[[Config], Finding], ...] = (python, torch, crc32c, redis, log, threads, disk)
    return [*(check(config) for check in checks), *ports(config)]


def report(findings: list[Finding]) -> None:
    """Print findings as a table."""
    from rich.console import Console
    from rich.table import Table

    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table("check", "", "what was found", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(finding.name, f"[{colours[finding.state]}]{finding.state}[/]", finding.text)
    Console().print(table)


def python(_config: Config) -> Finding:
    """Check that Python is recent enough."""
    found = sys.version.split()[0]
    enough = sys.version_info >= (3, 11)
    return Finding("python", "ok" if enough else "fail", found if enough else f"{found}; 3.11 or newer is needed")


def torch(_config: Config) -> Finding:
    """Check that PyTorch can be imported."""
    try:
        return Finding("torch", "ok", str(importlib.import_module("torch").__version__))
    except ImportError as error:
        return Finding("torch", "fail", f"{error}; run `make setup`, or install torch as pinned in requirements.lock")


def crc32c(_config: Config) -> Finding:
    """Check that checksums of Kafka records are computed in C."""
    try:
        importlib.import_module("crc32c")
    except ImportError:
        text = "MISSING: Kafka checksums are computed in pure Python, 3 to 20 times slower; run `pip install crc32c`"
        return Finding("crc32c", "fail", text)
    return Finding("crc32c", "ok", "Kafka checksums are computed in C")


def redis(config: Config) -> Finding:
    """Check that Redis answers, and numbers stream entries as the log needs it (``0-*``, version 7)."""
    from hsnn.streaming.redis.client import connect

    where = mask_address(config.redis.url)
    try:
        _answers(config.redis.url)
        client = connect(config.redis.url)
        known = client.info("server")
        client.close()
    except Exception as error:
        return Finding("redis", "fail", f"{where}: {sentence(error) or error}")
    found = f"{known.get('server_name', 'redis')} {known.get('valkey_version', known['redis_version'])}"
    if int(str(known["redis_version"]).partition(".")[0]) < 7:
        return Finding("redis", "fail", f"{where} is {found}; version 7 or newer is needed")
    return Finding("redis", "ok", f"{where} is {found}")


def log(config: Config) -> Finding:
    """Check that the event log answers; a topic that does not exist yet is made by trainer or producer."""
    from hsnn.streaming.errors import UnknownTopicError
    from hsnn.streaming.log.open import open_log

    where, topic = mask_address(config.streaming.log), config.streaming.engagements_topic
    try:
        _answers(config.streaming.log)
        opened = open_log(config.streaming.log)
        try:
            return Finding("log", "ok", f"{where}: {topic} has {len(opened.partitions(topic))} partitions")
        except UnknownTopicError:
            return Finding("log", "ok", f"{where}: {topic} does not exist yet")
        finally:
            opened.close()
    except Exception as error:
        return Finding("log", "fail", f"{where}: {sentence(error) or error}")


def threads(config: Config) -> Finding:
    """Check that there are as many cores as threads are wanted."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = config.trainer.threads
    text = f"{cores} cores; trainer.threads = {wanted}"
    return Finding("threads", "ok", text) if wanted <= cores else Finding("threads", "warn", f"{text}: set it lower")


def disk(config: Config) -> Finding:
    """Check that checkpoints have room."""
    folder = config.trainer.checkpoint_dir.absolute()
    here = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(here).free / _GIB
    if not os.access(here, os.W_OK):
        return Finding("disk", "fail", f"{here} is not writable; set trainer.checkpoint_dir to a folder that is")
    text = f"{free:.1f} GiB free for checkpoints in {Path(folder)}"
    return Finding("disk", "ok", text) if free >= 2 else Finding("disk", "warn", f"{text}: less than 2 GiB")


def ports(config: Config) -> Iterator[Finding]:
    """Check that the ports of trainer, scheduler and server are free."""
    wanted = {
        "trainer": (config.monitoring.host, config.monitoring.trainer_port),
        "scheduler": (config.monitoring.host, config.monitoring.scheduler_port),
        "server": (config.serving.host, config.serving.port),
    }
    for role, (host, port) in wanted.items():
        yield _port(role, host, port)


def _answers(url: str, timeout: float = 2.0) -> None:
    """Raise at once if nobody listens at the first address of a URL: the clients would try for long."""
    address = urlsplit(url).netloc.rpartition("@")[2].partition(",")[0]
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()


def _port(role: str, host: str, port: int) -> Finding:
    name = f"{role} port"
    try:
        with socket.create_server((host, port)):
            return Finding(name, "ok", f"{host}:{port} is free")
    except OSError as error:
        return Finding(
            name,
            "warn",
            f"{host}:{port}: {os.strerror(error.errno or 0)}; the {role} may run already, else set another port",
        )
