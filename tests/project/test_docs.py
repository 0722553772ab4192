"""The documentation tells the truth: its links lead somewhere, its names exist."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.paths import ROOT
from tests.project.pages import PAGES, blocks, quoted, text

ROOMS = ("monitoring", "streaming", "trainer", "indexer", "serving", "evaluation", "hsnn")
SECTIONS = ("redis", "streaming", "trainer", "indexer", "serving", "monitoring")
PUBLIC_HOSTS = {
    "127.0.0.1",
    "localhost",
    "arxiv.org",
    "www.apache.org",
    "maven.apache.org",
    "www.w3.org",
    "github.com",
    "opencollective.com",
    "grouplens.org",
    "files.grouplens.org",
    "www.kaggle.com",
    "kuairand.com",
    "archive.ics.uci.edu",
    "duckdb.org",
}
"""Hosts that a committed file may name; names without a dot are examples or services of the Compose file."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def sources(*rooms: str) -> list[str]:
    return [path.read_text("utf-8") for room in rooms or ROOMS for path in (ROOT / room).rglob("*.py")]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if target.startswith("http"):
            continue
        name, _, part = target.partition("#")
        goal = (page.parent / name).resolve() if name else page
        assert goal.exists(), f"{page.name}: {target}"
        if part:
            assert part in {anchor(line) for line in re.findall(r"^#+ (.*)$", text(goal), re.MULTILINE)}, target


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    for name in quoted(page):
        if re.fullmatch(r"[\w.]+(/[\w.-]+)+\.(py|md|yml|yaml|json|toml|sh|env|example|svg)", name):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
        elif re.fullmatch(rf"(tests|benchmarks|deploy|{'|'.join(ROOMS)})/[\w/]*", name):
            assert (ROOT / name).is_dir(), f"{page.name}: {name}"


@cache
def metrics() -> set[str]:
    made = r"(?:Counter|Gauge|Histogram)(?:MetricFamily)?\(\s*\"(hsnn_\w+)\""
    return {name for source in sources() for name in re.findall(made, source)}


@every_page
def test_metrics_that_are_named_exist(page: Path) -> None:
    assert set(re.findall(r"`(hsnn_[a-z_]+)", text(page))) <= metrics()


def test_the_readme_is_short() -> None:
    assert len(text(ROOT / "README.md").splitlines()) < 200


def test_operations_explains_every_metric() -> None:
    assert metrics() == set(re.findall(r"`(hsnn_[a-z_]+)", text(ROOT / "docs" / "operations.md")))


@every_page
def test_configuration_keys_that_are_named_exist(page: Path) -> None:
    from hsnn.config.schema import known_keys

    known = set(known_keys())
    opened = {name for name, key in known_keys().items() if key.open}
    for name in quoted(page):
        name = name.partition(" = ")[0].removesuffix(".*")
        if not re.fullmatch(rf"({'|'.join(SECTIONS)})(\.[a-z_]+)+", name):
            continue
        is_key = name in known or any(key.startswith(f"{name}.") for key in known) or name.rpartition(".")[0] in opened
        assert is_key or is_code(name), f"{page.name}: {name}"


def is_code(name: str) -> bool:
    """Whether a dotted name is a module or a public name of one."""
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    module, _, attribute = name.rpartition(".")
    file = (ROOT / module.replace(".", "/")).with_suffix(".py")
    return file.exists() and hasattr(import_module(module), attribute)


@every_page
def test_environment_variables_that_are_named_exist(page: Path) -> None:
    from hsnn.config.loader import OTHER_VARIABLES
    from hsnn.config.schema import known_keys

    known = {"HSNN_" + name.upper().replace(".", "__") for name in known_keys()} | OTHER_VARIABLES
    for name in set(re.findall(r"HSNN_[A-Z_]+", text(page))) - {"HSNN_SECTION__KEY", "HSNN_A__B"}:
        assert name in known, f"{page.name}: {name}"


@every_page
def test_a_configuration_file_that_is_shown_is_accepted(page: Path, tmp_path: Path) -> None:
    from hsnn.config.loader import load
    from hsnn.streaming.datasets.imported.mapping import parse_map

    for number, code in enumerate(blocks(page, "toml")):
        if "events" in tomllib.loads(code):  # a map of columns
            parse_map(tomllib.loads(code))
            continue
        file = tmp_path / f"{number}.toml"
        file.write_text(code, "utf-8")
        origins = load(file).origins.keys()
        wanted = [f"{section}.{key}" for section, keys in tomllib.loads(code).items() for key in keys]
        assert any(origin == key or origin.startswith(f"{key}.") for origin in origins for key in wanted)


@every_page
def test_commands_that_are_named_exist(page: Path) -> None:
    from hsnn.cli.app import COMMANDS, application

    root = typer.main.get_command(application(tuple(COMMANDS)))
    shown = [line.partition("#")[0] for code in blocks(page, "sh") for line in code.splitlines()]
    for command in [*quoted(page), *shown]:
        for words in re.findall(r"(?:^|run --rm trainer |-m )hsnn ([a-z].*)", command.strip()):
            check_command(root, words.split(), f"{page.name}: {command}")


def check_command(command: Any, words: list[str], where: str) -> None:
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, where
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{where}: {word}"


@every_page
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    shown = [line for code in blocks(page, "sh") for line in code.splitlines()]
    for line in [*quoted(page), *shown]:
        if found := re.match(r"make ([a-z-]+)", line):
            assert found[1] in targets, f"{page.name}: {line}"


@cache
def redis_keys() -> set[str]:
    """First parts of the Redis keys that the rooms name, with a second part where it is fixed, too."""
    called = r"\bkey\(\"(\w+)\"(?:, \"(\w+)\")?"
    return {":".join(filter(None, found)) for source in sources() for found in re.findall(called, source)}


@every_page
def test_redis_keys_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"hsnn:\{0\}:([a-z_]+(?::[a-z_]+)?)", text(page)):
        assert name in redis_keys(), f"{page.name}: hsnn:{{0}}:{name}"


def test_the_index_layout_explains_every_redis_key() -> None:
    page = ROOT / "docs" / "index-layout.md"
    interaction_logits = set(re.findall(r"^\| `hsnn:\{0\}:([a-z_]+(?::[a-z_]+)?)", text(page), re.MULTILINE))
    assert redis_keys() - interaction_logits == set()
    log = " ".join(sources("streaming"))
    for name in re.findall(r"`hsnn:log:([a-z]+)", text(page)):
        assert f"hsnn:log:{name}" in log


@every_page
def test_http_paths_that_are_named_exist(page: Path) -> None:
    served = "".join(sources("serving", "monitoring")) + "/openapi.json"
    for path in re.findall(r"(?<![\w.])/(?:v1|healthz)/[a-z_]+", text(page)):
        assert path in served, f"{page.name}: {path}"


def test_reasons_of_dead_letters_and_of_dropped_events_exist() -> None:
    page = text(ROOT / "docs" / "architecture.md")
    source = "".join(sources("streaming", "trainer"))
    for listed in (r"Reasons: (.*?)\.\n", r"Reasons of `dropped`: (.*?)\.\n"):
        found = re.search(listed, page, re.DOTALL)
        assert found is not None
        for reason in re.findall(r"`(\w+)`", found[1]):
            assert f'"{reason}"' in source, reason


@every_page
def test_events_that_are_shown_are_accepted(page: Path) -> None:
    from hsnn.streaming.schema.events import decode

    for code in blocks(page, "json"):
        decode(code.encode())


def test_every_term_of_the_glossary_has_one_meaning_and_an_owner_that_exists() -> None:
    page = text(ROOT / "docs" / "glossary.md")
    rows = re.findall(r"^\| (?!term \|)([^|]+) \| [^|]+ \| `([^`|]+)` \|$", page, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^\| (?!term \|)", page, re.MULTILINE)), "a row without an owner"
    terms = [term for cell, _ in rows for term in cell.split(", ")]
    assert sorted(terms) == sorted(set(terms))
    for cell, owner in rows:
        assert (ROOT / owner).exists(), f"{cell}: {owner}"


def test_architecture_lists_every_package_once() -> None:
    page = text(ROOT / "docs" / "architecture.md")
    listed = re.findall(r"^\| \**`([\w/]+)/`\** \|", page, re.MULTILINE)
    folders = {path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).glob("**/__init__.py")}
    packages = {folder.as_posix() for folder in folders if len(folder.parts) <= 2 and not (ROOT / folder).is_symlink()}
    assert sorted(listed) == sorted(packages)


def test_the_data_flows_of_the_architecture_pass_each_package_once() -> None:
    page = text(ROOT / "docs" / "architecture.md")
    table = page.partition("### Data flow")[2].partition("## ")[0]
    for flow in re.findall(r"^\| (?!flow)\w.*? \| (.*) \|$", table, re.MULTILINE):
        main, _, record = flow.partition("; its record: ")
        for way in (main, record):
            packages = re.findall(r"`(\w+\.\w+)`", way)
            assert len(packages) == len(set(packages)), way
            for name in packages:
                assert (ROOT / name.replace(".", "/")).exists() or (ROOT / f"{name.replace('.', '/')}.py").exists(), (
                    name
                )


def test_the_api_reference_is_what_the_docstrings_say() -> None:
    from tools.api_reference import reference

    assert text(ROOT / "docs" / "api.md") == reference(), "docs/api.md is out of date: run `make docs`"


@pytest.mark.slow
def test_no_file_names_a_machine() -> None:
    folder = re.compile(r"(?<![\w.$}])/(?:" + "|".join(("work", "root", "home", "Users")) + r")/\w")
    own = Path(__file__)
    for path in committed():
        try:
            content = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        if path != own:
            assert not folder.search(content), f"{path.relative_to(ROOT)}: {folder.search(content)}"
        for host in re.findall(r"https?://(?:[^/\s@]*@)?([A-Za-z0-9.-]+)", content):
            host = host.rstrip(".")
            known = host in PUBLIC_HOSTS or "." not in host or host.endswith((".internal", ".invalid", ".example"))
            assert known or host.startswith("127."), f"{path.relative_to(ROOT)}: {host}"
