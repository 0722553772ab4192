"""The deployment files, held against the project: every command, key, port, file, page and metric they name exists.

No Docker engine is needed; what is checked is what a renamed option or moved file would break.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import typer
import yaml
from prometheus_client import REGISTRY

import hsnn.indexer.metrics
import hsnn.monitoring.metrics
import hsnn.trainer.metrics  # noqa: F401
from hsnn.cli.app import COMMANDS, application
from hsnn.config.loader import OTHER_VARIABLES, load
from hsnn.config.schema import Config, known_keys
from hsnn.monitoring.health import Health
from hsnn.monitoring.http import LIVE, METRICS, READY
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.workers.board import Board
from hsnn.serving.workers.shared_metrics import WorkerCollector
from tests.paths import ROOT

ROOMS = ("evaluation", "hsnn", "indexer", "monitoring", "serving", "streaming", "trainer")

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ROLES = {name: service for name, service in SERVICES.items() if "build" in service}
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PASSWORDS = {"REDIS_PASSWORD": "secret1", "GRAFANA_PASSWORD": "secret2"}


def filled(text: str) -> str:
    """The text with its ``${NAME:?message}`` filled in as Compose would."""
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: PASSWORDS[found[1]], text)


def configured(role: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Config:
    """The configuration that the service's process would have."""
    monkeypatch.chdir(folder)
    for name, value in ROLES[role]["environment"].items():
        monkeypatch.setenv(name, filled(str(value)))
    return load().config


def http_port(role: str, config: Config) -> int:
    ports = {
        "trainer": config.monitoring.trainer_port,
        "scheduler": config.monitoring.scheduler_port,
        "server": config.serving.port,
    }
    return ports[role]


def check_command(arguments: list[str]) -> None:
    """Parse a command line of hsnn down to its last option; raises if anything in it does not exist."""
    command: Any = typer.main.get_command(application(list(COMMANDS)))
    context = command.make_context("hsnn", list(arguments))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


def test_it_has_the_services_of_the_whole_system() -> None:
    assert set(SERVICES) == {"kafka", "redis", "trainer", "scheduler", "server", "prometheus", "grafana"}
    assert set(ROLES) == {"trainer", "scheduler", "server"}
    assert SERVICES["redis"]["image"].startswith("redis:8")
    assert re.match(r"apache/kafka:4\.", SERVICES["kafka"]["image"])


@pytest.mark.parametrize("role", ROLES)
def test_commands_exist_in_the_command_line(role: str) -> None:
    check_command(ROLES[role]["command"])
    with pytest.raises(Exception, match="No such option"):
        check_command([*ROLES[role]["command"], "--no-such-option"])


def test_commands_in_comments_exist_too() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    found = re.findall(r"^#\s+docker compose run --rm trainer (.+)$", text, re.MULTILINE)
    assert found
    for command in found:
        check_command(shlex.split(command))


@pytest.mark.parametrize("role", ROLES)
def test_environment_keys_exist_and_their_values_are_allowed(
    role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ROLES[role]["environment"]:
        assert variable not in OTHER_VARIABLES
        assert variable.removeprefix("HSNN_").lower().replace("__", ".") in known_keys(), variable
    config = configured(role, monkeypatch, tmp_path)
    redis = urlsplit(config.redis.url)
    assert (redis.hostname, redis.port, redis.password) == ("redis", 6379, PASSWORDS["REDIS_PASSWORD"])


def test_addresses_between_services_are_those_the_services_listen_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = configured("trainer", monkeypatch, tmp_path)
    listeners = dict(
        pair.split("://") for pair in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    assert config.streaming.log == f"kafka://{listeners['INTERNAL']}"
    assert listeners["HOST"] == "127.0.0.1:9092"
    served = configured("server", monkeypatch, tmp_path)
    assert config.trainer.server == f"http://server:{served.serving.port}"
    assert served.serving.host == config.monitoring.host == "0.0.0.0"


def test_kafka_listens_where_it_says() -> None:
    environment = SERVICES["kafka"]["environment"]
    advertised = {name: pair.rpartition(":")[2] for name, pair in _listeners(environment["KAFKA_ADVERTISED_LISTENERS"])}
    bound = {name: pair.rpartition(":")[2] for name, pair in _listeners(environment["KAFKA_LISTENERS"])}
    assert advertised.items() <= bound.items()
    assert set(bound) == {pair.split(":")[0] for pair in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"].endswith(f"@kafka:{bound['CONTROLLER']}")


def _listeners(text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split(","):
        name, _, address = pair.partition("://")
        yield name, address


@pytest.mark.parametrize("role", ROLES)
def test_ports_health_pages_and_image_agree_with_the_configuration(
    role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = http_port(role, configured(role, monkeypatch, tmp_path))
    assert ROLES[role]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert re.search(rf"^EXPOSE .*\b{port}\b", DOCKERFILE, re.MULTILINE)
    address = re.search(r"http://\S+?(?=')", ROLES[role]["healthcheck"]["test"][-1])
    assert address is not None
    assert urlsplit(address[0])[1:3] == (f"127.0.0.1:{port}", LIVE)


def test_the_servers_own_pages_are_the_shared_ones() -> None:
    metrics = ServingMetrics()
    app = create_app(Api(Mirror(), ServingConfig(), metrics), metrics, Health("version"))

    async def statuses() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return [(await client.get(page)).status_code for page in (LIVE, READY, METRICS)]

    assert asyncio.run(statuses()) == [200, 503, 200]


@pytest.mark.parametrize("name", SERVICES)
def test_published_ports_are_bound_to_loopback(name: str) -> None:
    assert SERVICES[name]["ports"]
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in SERVICES[name]["ports"])


def test_published_ports_are_all_different() -> None:
    ports = [port for service in SERVICES.values() for port in service["ports"]]
    assert len(set(ports)) == len(ports)


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_exist_and_volumes_are_declared(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source = mount.partition(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert mount.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"], source


def test_no_volume_is_declared_in_vain() -> None:
    used = {mount.partition(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())}
    assert set(COMPOSE["volumes"]) <= used


def test_checkpoints_lie_on_the_volume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = configured("trainer", monkeypatch, tmp_path).trainer.checkpoint_dir
    mounted = [Path(mount.split(":")[1]) for mount in ROLES["trainer"]["volumes"]]
    assert any(folder.is_relative_to(place) for place in mounted)
    assert all(f"VOLUME {place}" in DOCKERFILE for place in mounted)


def test_every_service_has_a_health_check() -> None:
    assert [name for name, service in SERVICES.items() if not service.get("healthcheck", {}).get("test")] == []


def test_what_is_needed_starts_first() -> None:
    needs = {name: set(service.get("depends_on", ())) for name, service in SERVICES.items()}
    assert needs["trainer"] == {"kafka", "redis"}
    assert needs["scheduler"] == {"redis", "trainer"}
    assert needs["server"] == {"redis", "scheduler"}
    assert needs["prometheus"] == {"trainer", "scheduler", "server"}
    assert needs["grafana"] == {"prometheus"}
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert how["condition"] in ("service_healthy", "service_started")
    started: set[str] = set()
    while ready := {name for name in needs if name not in started and needs[name] <= started}:
        started |= ready
    assert started == set(SERVICES), "the start order has a circle"


def test_passwords_come_from_the_environment_and_the_example_names_them_all() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    wanted = set(re.findall(r"\$\{(\w+)", text))
    assert wanted == set(PASSWORDS)
    example = (ROOT / "deploy" / "env.example").read_text()
    assert set(re.findall(r"^(\w+)=", example, re.MULTILINE)) == wanted
    secrets = [line for line in text.splitlines() if re.search(r"(?i)password|requirepass", line) and "${" not in line]
    assert all("$$" in line or line.lstrip().startswith("#") for line in secrets), secrets


def test_prometheus_scrapes_every_role_where_it_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    targets = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    assert set(targets) == set(ROLES)
    for role, job in targets.items():
        port = http_port(role, configured(role, monkeypatch, tmp_path))
        assert job["static_configs"] == [{"targets": [f"{role}:{port}"]}]
        assert job["metrics_path"] == METRICS


def known_metrics() -> dict[str, set[str]]:
    """Names that Prometheus stores, and their labels."""
    found: dict[str, set[str]] = {}
    for registry in (REGISTRY, ServingMetrics().registry):
        for name, collector in registry._names_to_collectors.items():
            found.setdefault(name, {"job", "instance", "le"}).update(getattr(collector, "_labelnames", ()))
        for metric in registry.collect():
            found.setdefault(metric.name, {"job", "instance"})
    for sample in (sample for metric in WorkerCollector(Board(1)).collect() for sample in metric.samples):
        found[sample.name] = {"job", "instance", *sample.labels}
    return found


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboards_name_metrics_labels_and_sources_that_exist(path: Path) -> None:
    dashboard, known = json.loads(path.read_text()), known_metrics()
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    uids = {source["uid"] for source in sources["datasources"]}
    asked = [(panel, target) for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) > 10
    for panel, target in asked:
        names = set(re.findall(r"\b(?:hsnn|process)_\w+", target["expr"]))
        assert names, panel["title"]
        assert names <= set(known), f"{panel['title']}: {names - set(known)}"
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(", ")}
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        labels = set.union(*(known[name] for name in names))
        assert grouped | shown <= labels, f"{panel['title']}: {(grouped | shown) - labels}"
        assert set(re.findall(r'job="(\w+)"', target["expr"])) <= set(ROLES)
        assert panel["datasource"]["uid"] in uids


def test_grafana_finds_its_source_and_dashboards() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    address = urlsplit(source["datasources"][0]["url"])
    assert f"127.0.0.1:{address.port}:{address.port}" in SERVICES[address.hostname or ""]["ports"]
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/hsnn.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).name in {path.name for path in DASHBOARDS}


def test_the_image_is_built_from_the_lock_and_the_rooms_for_a_user_without_rights() -> None:
    copied = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ") and "--from" not in line
    ]
    sources = {source for line in copied for source in line}
    assert sources == {*ROOMS, "pyproject.toml", "requirements.lock", "README.md", "docs/operations.md"}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed == sources
    users = re.findall(r"^USER (\w+)", DOCKERFILE, re.MULTILINE)
    assert users
    assert users[-1] != "root"
    assert re.search(r'^ENTRYPOINT \["hsnn"\]', DOCKERFILE, re.MULTILINE)
    stages = [line.split()[1:] for line in DOCKERFILE.splitlines() if line.startswith("FROM ")]
    named = {stage[2] for stage in stages if len(stage) > 1}
    assert {stage[0] for stage in stages} - named == {"python:3.11.13-slim"}
    assert "server" in named


def test_the_systemd_unit_runs_commands_with_options_that_exist() -> None:
    text = (ROOT / "deploy" / "systemd" / "hsnn@.service").read_text()
    roles = re.findall(r"hsnn@(\w+)", text.partition("[Unit]")[0])
    assert {SERVICES[role]["command"][0] for role in ROLES} == set(roles)
    (options,) = re.findall(r"^ExecStart=/opt/hsnn/bin/hsnn %i (.*)$", text, re.MULTILINE)
    for role in roles:
        command = typer.main.get_command(application([role])).commands[role]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", options)) <= known
