"""Hooks of MkDocs (``make docs-site``): the pages that lie beside ``docs`` are pages of the site, too."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.txt",
}
"""Pages at the top of the clone -> their names in the site."""

# The target of a link or picture, without its anchor, unless it is an address or an anchor alone.
_TARGET = re.compile(r"(?<=\]\()(?![a-z]+:|#)[^)\s#]+")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside of ``docs``."""
    for name, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=site_links((ROOT / name).read_text("utf-8"), name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links of a page of ``docs`` that lead out of it into links within the site."""
    return markdown if page.file.src_uri in OUTSIDE.values() else site_links(markdown, f"docs/{page.file.src_uri}")


def site_links(text: str, source: str) -> str:
    """Rewrite the links of a page, written for the clone, to those of the site.

    Parameters
    ----------
    text
        Markdown.
    source
        Path of the page in the clone.

    Examples
    --------
    >>> site_links("[a](docs/http.md#errors), [b](CHANGELOG.md)", "README.md")
    '[a](http.md#errors), [b](changelog.md)'
    >>> site_links("[a](../../README.md#limits), [b](../http.md)", "docs/how-to/filters.md")
    '[a](../index.md#limits), [b](../http.md)'
    """
    here = dirname(_in_site(source)) or "."

    def rewritten(found: re.Match[str]) -> str:
        return relpath(_in_site(normpath(join(dirname(source), found[0]))), here)

    return _TARGET.sub(rewritten, text)


def _in_site(path: str) -> str:
    """Return where a file of the clone is, seen from the site's pages; what is not part of the site stays above it."""
    return OUTSIDE.get(path) or relpath(path, "docs")
