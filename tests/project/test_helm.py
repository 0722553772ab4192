"""The Helm chart, held against the project: commands, ports, probes, keys and versions that it names exist.

What a renamed option would break is checked in its text. Rendering and linting need ``helm``, on the path or named by
``HELM``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hsnn.config.loader import OTHER_VARIABLES, load
from hsnn.config.schema import Config, known_keys
from hsnn.monitoring.http import LIVE, READY
from tests.paths import ROOT
from tests.project.test_compose import DOCKERFILE, check_command, http_port
from tests.project.test_compose import ROLES as COMPOSE_ROLES

CHART = ROOT / "deploy" / "helm" / "hsnn"
TEMPLATES = {path.name: path.read_text("utf-8") for path in sorted((CHART / "templates").iterdir())}
TEXT = "\n".join(TEMPLATES.values())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
ROLES = {
    role: (command, int(port))
    for role, command, port in re.findall(r'"hsnn.pod" \(list \. "(\w+)" "(\w+)" (\d+)\)', TEXT)
}

# Every value set to something else than its default.
OTHER_VALUES = """
image: {repository: registry.internal/hsnn, serverRepository: registry.internal/small, tag: "9", pullPolicy: Always}
imagePullSecrets: [{name: registry}]
redis: {secret: other-redis, key: a}
log: {secret: other-log, key: b}
token: {secret: other-token, key: c}
config: |
  [trainer]
  expire_after_idle = "48h"
env: [{name: KAFKA_PASSWORD, valueFrom: {secretKeyRef: {name: kafka, key: password}}}]
trainer: {persistence: {enabled: false}, nodeSelector: {disk: fast}, tolerations: [{key: a, operator: Exists}]}
scheduler: {replicas: 1, affinity: {nodeAffinity: {}}}
server: {replicas: 5, service: {type: LoadBalancer, port: 80}}
probes: {startup: 600, period: 20, failures: 3}
scrape: false
"""


def test_its_versions_are_those_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version


@pytest.mark.slow
def test_it_runs_the_roles_of_the_compose_file_with_commands_and_ports_that_exist() -> None:
    assert set(ROLES) == set(COMPOSE_ROLES)
    for role, (command, port) in ROLES.items():
        assert [command] == COMPOSE_ROLES[role]["command"]
        assert port == http_port(role, Config())
        check_command([command, "--log-format", "json"])
        assert re.search(rf"^EXPOSE .*\b{port}\b", DOCKERFILE, re.MULTILINE)


def test_probes_ask_pages_that_exist() -> None:
    assert set(re.findall(r"path: (/healthz\S*?),", TEXT)) == {LIVE, READY}


def test_variables_are_keys_that_exist() -> None:
    named = set(re.findall(r"- name: (HSNN_\w+)", TEXT)) - OTHER_VARIABLES
    assert {"HSNN_REDIS__URL", "HSNN_STREAMING__LOG", "HSNN_SERVING__TOKEN_ENV"} <= named
    for variable in named:
        assert variable.removeprefix("HSNN_").lower().replace("__", ".") in known_keys(), variable


def test_user_and_folder_are_those_of_the_image() -> None:
    assert set(re.findall(r"runAsUser: (\d+)", TEXT)) == set(re.findall(r"useradd --uid (\d+)", DOCKERFILE))
    assert "VOLUME /var/lib/hsnn" in DOCKERFILE
    assert "mountPath: /var/lib/hsnn" in TEXT


def test_every_value_is_used_and_every_one_that_is_used_exists() -> None:
    used = set(re.findall(r"\.Values\.([a-zA-Z.]+)", TEXT))
    used |= {f"{role}.{name}" for role in ROLES for name in re.findall(r"\$own\.(\w+)", TEXT)}

    def leaves(values: dict[str, Any], prefix: str = "") -> set[str]:
        found = set()
        for name, value in values.items():
            whole = f"{prefix}{name}" in used or not isinstance(value, dict) or not value
            found |= {f"{prefix}{name}"} if whole else leaves(value, f"{prefix}{name}.")
        return found

    assert leaves(VALUES) == used


@pytest.fixture(scope="module")
def helm() -> str:
    """Path of helm; without it a skip."""
    path = os.environ.get("HELM") or shutil.which("helm")
    if path is None:
        pytest.skip("no helm to render the chart with; install it, or set HELM to its path")
    return path


@pytest.fixture(scope="module", params=["{}", OTHER_VALUES], ids=["defaults", "other values"])
def given(request: pytest.FixtureRequest) -> str:
    """What a user sets."""
    return str(request.param)


@pytest.fixture(scope="module")
def manifests(helm: str, given: str, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The objects that the chart makes."""
    file = tmp_path_factory.mktemp("helm") / "values.yaml"
    file.write_text(given)
    for command in (["lint", "--strict", str(CHART)], ["template", "shop", str(CHART)]):
        made = subprocess.run([helm, *command, "--values", str(file)], capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
    return [document for document in yaml.safe_load_all(made.stdout) if document]


def pods(manifests: list[Any]) -> dict[str, dict[str, Any]]:
    made = [one["spec"]["template"] for one in manifests if one["kind"] in ("StatefulSet", "Deployment")]
    return {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod for pod in made}


def test_objects_are_there_once_and_refer_to_one_another(manifests: list[Any]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert sorted(names) == [
        ("ConfigMap", "shop-config"),
        ("Deployment", "shop-scheduler"),
        ("Deployment", "shop-server"),
        ("Service", "shop-server"),
        ("Service", "shop-trainer"),
        ("StatefulSet", "shop-trainer"),
    ]
    labels = [pod["metadata"]["labels"] for pod in pods(manifests).values()]
    for one in manifests:
        if one["kind"] != "ConfigMap":
            selector = one["spec"]["selector"]
            wanted = selector.get("matchLabels", selector)
            assert sum(wanted.items() <= of_pod.items() for of_pod in labels) == 1, one["metadata"]["name"]


def test_servers_may_have_an_image_of_their_own(manifests: list[Any], given: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    image = VALUES["image"] | yaml.safe_load(given).get("image", {})
    for role, pod in pods(manifests).items():
        own = image["serverRepository"] if role == "server" else ""
        assert pod["spec"]["containers"][0]["image"] == f"{own or image['repository']}:{image['tag'] or version}"


def test_pods_have_no_rights_and_write_nowhere_but_into_their_volumes(manifests: list[Any]) -> None:
    claimed = [one for one in manifests if one.get("spec", {}).get("volumeClaimTemplates")]
    for role, pod in pods(manifests).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        assert not spec["enableServiceLinks"]  # or SHOP_... is a variable, and HSNN_... of a release called hsnn
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        volumes = {volume["name"] for volume in spec["volumes"]}
        if claimed and role == "trainer":
            volumes.add("data")
        assert volumes == {mount["name"] for mount in container["volumeMounts"]}
        check_command(container["args"])


def test_secrets_are_named_and_the_rest_is_a_configuration_that_is_accepted(
    manifests: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (map_of_config,) = [one["data"] for one in manifests if one["kind"] == "ConfigMap"]
    (tmp_path / "hsnn.toml").write_text(map_of_config["hsnn.toml"])
    ports = {one["metadata"]["name"]: one["spec"]["ports"][0]["port"] for one in manifests if one["kind"] == "Service"}
    secret = {"HSNN_REDIS__URL": "redis://:x@redis:6379/0", "HSNN_STREAMING__LOG": "kafka://kafka:9092"}
    for role, pod in pods(manifests).items():
        (container,) = pod["spec"]["containers"]
        environ = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert {name for name, value in environ.items() if value is None} >= set(secret)
        with monkeypatch.context() as patch:
            for name, value in (environ | secret).items():
                patch.setenv(name, value or "secret")
            patch.setenv("HSNN_CONFIG", str(tmp_path / "hsnn.toml"))
            config = load().config
        assert http_port(role, config) == container["ports"][0]["containerPort"]
        if role == "trainer":
            assert config.trainer.server == f"http://shop-server:{ports['shop-server']}"
            assert config.trainer.server_token_env in environ
            assert config.trainer.checkpoint_dir.is_relative_to("/var/lib/hsnn")
        if role == "server":
            assert config.serving.token_env in environ
