"""``hsnn doctor``: check this machine, and that the servers in the configuration answer."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.config.masking import mask_address
from hsnn.config.schema import Config
from hsnn.doctor.finding import Finding
from hsnn.monitoring.errors import user_message

# Bytes of a GiB, the unit in which disks are reported.
_BYTES_PER_GIB = 2**30

# GiB free: less than this fills up within days with the default number of kept checkpoints.
_LEAST_FREE_GIB = 2

# Seconds: a server that does not accept a connection within them is reported; the clients would retry for much longer.
_CONNECT_SECONDS = 2.0


def doctor(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Check this machine and what the configuration points to; exit status 1 if a check fails."""
    findings = run_checks(settings(config, overrides).config)
    print_findings(findings)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be converted, and change nothing")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Convert what an earlier release has stored; stop trainer and scheduler first. Exit status 1 if it cannot be."""
    from hsnn.doctor.upgrade import upgrade_stored

    findings = list(upgrade_stored(settings(config, overrides), dry_run=dry_run))
    print_findings(findings)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def run_checks(config: Config) -> list[Finding]:
    """Run all checks; none of them changes anything."""
    checks: tuple[Callable[[Config], Finding], ...] = (
        check_python,
        check_torch,
        check_crc32c,
        check_threads,
        check_disk,
    )
    return [*(check(config) for check in checks), *check_servers(config), *check_ports(config)]


def print_findings(findings: list[Finding]) -> None:
    """Print findings as a table."""
    colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table("check", "", "what was found", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(finding.name, f"[{colours[finding.state]}]{finding.state}[/]", finding.text)
    Console().print(table)


def check_python(_config: Config) -> Finding:
    """Check that Python is recent enough."""
    version = sys.version.split()[0]
    enough = sys.version_info >= (3, 11)
    return Finding("python", "ok" if enough else "fail", version if enough else f"{version}; 3.11 or newer is needed")


def check_torch(_config: Config) -> Finding:
    """Check that PyTorch can be imported, where it is installed: a server needs none."""
    if find_spec("torch") is None:
        text = "not installed; a server needs none, a trainer and a scheduler do: run `pip install 'hsnn[train]'`"
        return Finding("torch", "warn", text)
    try:
        return Finding("torch", "ok", str(importlib.import_module("torch").__version__))
    except ImportError as error:
        return Finding("torch", "fail", f"{error}; run `make setup`, or install torch as pinned in requirements.lock")


def check_crc32c(_config: Config) -> Finding:
    """Check that checksums of Kafka records are computed in C."""
    try:
        importlib.import_module("crc32c")
    except ImportError:
        text = "MISSING: Kafka checksums are computed in pure Python, 3 to 20 times slower; run `pip install crc32c`"
        return Finding("crc32c", "fail", text)
    return Finding("crc32c", "ok", "Kafka checksums are computed in C")


def check_servers(config: Config) -> Iterator[Finding]:
    """Check Redis and the event log; where one does not answer, say so at once."""
    from hsnn.doctor.event_log import check_event_log
    from hsnn.doctor.redis_server import check_redis_server

    for name, url, check in (
        ("redis", config.redis.url, check_redis_server),
        ("log", config.streaming.log, check_event_log),
    ):
        try:
            _connect(url)
            yield from check(config)
        except Exception as error:
            yield Finding(name, "fail", f"{mask_address(url)}: {user_message(error) or error}")


def check_threads(config: Config) -> Finding:
    """Check that there are at least as many cores as configured threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = config.trainer.threads
    text = f"{cores} cores; trainer.threads = {wanted}"
    return Finding("threads", "ok", text) if wanted <= cores else Finding("threads", "warn", f"{text}: set it lower")


def check_disk(config: Config) -> Finding:
    """Check that the checkpoint folder is writable and its disk has room."""
    folder = config.trainer.checkpoint_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / _BYTES_PER_GIB
    if not os.access(existing, os.W_OK):
        return Finding("disk", "fail", f"{existing} is not writable; set trainer.checkpoint_dir to a folder that is")
    text = f"{free:.1f} GiB free for checkpoints in {Path(folder)}"
    return (
        Finding("disk", "ok", text)
        if free >= _LEAST_FREE_GIB
        else Finding("disk", "warn", f"{text}: less than {_LEAST_FREE_GIB} GiB")
    )


def check_ports(config: Config) -> Iterator[Finding]:
    """Check that the ports of trainer, scheduler and server are free."""
    wanted = {
        "trainer": (config.monitoring.host, config.monitoring.trainer_port),
        "scheduler": (config.monitoring.host, config.monitoring.scheduler_port),
        "server": (config.serving.host, config.serving.port),
    }
    for role, (host, port) in wanted.items():
        yield _check_port(role, host, port)


def _connect(url: str, timeout: float = _CONNECT_SECONDS) -> None:
    """Open and close a connection to the first address of a URL; raises OSError if nothing listens there."""
    address = urlsplit(url).netloc.rpartition("@")[2].partition(",")[0]
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout).close()


def _check_port(role: str, host: str, port: int) -> Finding:
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
