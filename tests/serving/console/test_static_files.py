from __future__ import annotations

import hashlib
import re

from hsnn.serving.console.static_files import FOLDER, HEADERS, read_static_files
from tests.paths import ROOT

# Bytes that the page may load, all files together, the operations page apart: less than a photograph.
BUDGET = 300_000


def test_the_built_page_is_that_of_the_sources():
    sources = [path for path in (ROOT / "console" / "src").rglob("*") if path.is_file()]
    files = sorted(
        str(path) for path in (*sources, ROOT / "console" / "build.mjs", ROOT / "console" / "package-lock.json")
    )
    digest = hashlib.sha256()
    for name in files:
        with open(name, "rb") as file:
            digest.update(file.read())
    first = (FOLDER / "console.js").read_text().partition("\n")[0]
    assert digest.hexdigest() in first, "console/src was changed and not built: make console"


def test_the_page_is_small_and_loads_nothing_from_elsewhere():
    files = read_static_files()
    assert set(files) == {"", "console.js", "console.css", "operations.md"}
    page = {name: file.content.decode() for name, file in files.items() if name != "operations.md"}
    assert sum(len(text.encode()) for text in page.values()) < BUDGET
    assert re.findall(r'(?:src|href)="([^"]+)"', page[""]) == ["data:,", "/console/console.css", "/console/console.js"]
    assert "@import" not in page["console.css"]
    assert "<script>" not in page[""]
    assert " style=" not in page[""]
    assert "eval(" not in page["console.js"]


def test_the_policy_allows_no_inline_script_and_no_other_host_but_for_pictures():
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy.pop("img-src") == "'self' data: https: http:"
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}


def test_the_operations_page_is_that_of_the_documentation():
    assert read_static_files()["operations.md"].content == (ROOT / "docs" / "operations.md").read_bytes()
