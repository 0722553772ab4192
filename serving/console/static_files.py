"""The files of the console's page, from the package, with headers that allow nothing from elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

# Nothing is loaded but from this server; pictures of items may lie where the catalogue says.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: https: http:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Headers of every file; ``no-cache``: asked for again by its ETag, so that an upgrade is seen at once."""

FOLDER = Path(__file__).with_name("static")
"""The built page; `make console` writes it."""

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".md": "text/markdown; charset=utf-8",
}


class StaticFile(NamedTuple):
    """A file of the page, with its media type and its ETag."""

    content: bytes
    media_type: str
    tag: str


def read_static_files() -> dict[str, StaticFile]:
    """Read the files of the page by their paths under ``/console``; the page itself has the empty one."""
    files = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in _MEDIA_TYPES and path.is_file():
            content = path.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            files["" if path.name == "index.html" else path.name] = StaticFile(content, _MEDIA_TYPES[path.suffix], tag)
    return files
