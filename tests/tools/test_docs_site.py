from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.paths import ROOT
from tools.docs_site import OUTSIDE, site_links


class Settings(yaml.SafeLoader):
    """Reads mkdocs.yml; what it constructs in Python is left out."""


Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def settings() -> dict[str, Any]:
    return yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Settings)


def pages(nav: list[dict[str, Any]]) -> list[str]:
    return [
        page
        for entry in nav
        for value in entry.values()
        for page in ([value] if isinstance(value, str) else pages(value))
    ]


def test_the_navigation_names_every_page_once() -> None:
    docs = ROOT / "docs"
    written = [path.relative_to(docs).as_posix() for path in docs.rglob("*.md")]
    brought = [page for page in OUTSIDE.values() if page.endswith(".md")]
    assert sorted(pages(settings()["nav"])) == sorted([*written, *brought])


@pytest.mark.parametrize(
    ("source", "link", "in_site"),
    [
        ("README.md", "docs/http.md#errors", "http.md#errors"),
        ("README.md", "docs/img/loop.svg", "img/loop.svg"),
        ("README.md", "LICENSE", "license.txt"),
        ("README.md", "#limits", "#limits"),
        ("README.md", "https://example.invalid/docs/http.md", "https://example.invalid/docs/http.md"),
        ("CONTRIBUTING.md", "CHANGELOG.md", "changelog.md"),
        ("docs/architecture.md", "../README.md#limits", "index.md#limits"),
        ("docs/architecture.md", "method.md", "method.md"),
        ("docs/how-to/filters.md", "../http.md#filters", "../http.md#filters"),
        ("docs/how-to/filters.md", "../../CHANGELOG.md", "../changelog.md"),
        ("docs/how-to/filters.md", "expiry.md", "expiry.md"),
        ("docs/operations.md", "../deploy/prometheus.yml", "../deploy/prometheus.yml"),  # which the build refuses
    ],
)
def test_links_lead_to_the_same_page_in_the_site(source: str, link: str, in_site: str) -> None:
    assert site_links(f"[a]({link})", source) == f"[a]({in_site})"


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = build(ROOT, "--site-dir", str(tmp_path / "site"))
    assert built.returncode == 0, built.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)", text)
        assert loaded == [], page.name
        assert "<h1" in text or page.name == "404.html"


@pytest.mark.slow
def test_broken_links_and_anchors_are_errors(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with open(tmp_path / "docs" / "http.md", "a", encoding="utf-8") as page:
        page.write("\n[a](nowhere.md) [b](events.md#nowhere) [c](../pyproject.toml)\n")
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    (tmp_path / "mkdocs.yml").write_text(text.replace("tools/docs_site.py", str(ROOT / "tools" / "docs_site.py")))
    built = build(tmp_path)
    assert built.returncode != 0
    warnings = [line for line in built.stderr.splitlines() if "http.md" in line]
    assert [sum(target in line for line in warnings) for target in ("nowhere.md", "#nowhere", "pyproject.toml")] == [
        1
    ] * 3
