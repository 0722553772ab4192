"""Photograph every page of the console, light, dark and on a phone, for the documentation.

The time until the first paint is measured and printed, too.

``python -m tools.screenshots [FOLDER] [--url URL]``: without an address of a server, the demo's loop is started, some
thousand events are replayed, and pages are taken while it learns. Needs Chromium (``CHROMIUM``, or ``chromium`` on the
path).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

PAGES = ("now", "try", "index", "stream", "jobs")
"""Pages of the console that are shown in the documentation, by the last part of their addresses."""

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "is_mobile": True, "has_touch": True},
}
"""Browser contexts by the name of the look."""

# Engagements that the loop replays, 71 days of them, and how many times as fast: five minutes, so that the pages show a
# loop that is learning.
_EVENTS, _SPEED = 40_000, "20000x"

# What the joiner needs: an action that is a label, and a window that lasts for a second or two of the replay.
_SETTINGS = ('streaming.tasks=["rate"]', "streaming.attribution_window=2d")

# Of so many impressions one is sent twice, as by a client that tries again.
_REPEATED = 10

# Seconds of learning before the pages are taken.
_LEARNING = 90.0

# Colours of a picture: text is as sharp as with all of them, and a file has a third of the bytes.
_COLOURS = 96

# Times that the first paint is measured.
_PAINTS = 9

# Seconds that a page may take until it shows data.
_SHOWN = 30.0


def chromium() -> str:
    """Return the path of Chromium.

    Raises
    ------
    SystemExit
        There is none; the text says how to install it.
    """
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise SystemExit("no Chromium: install it (Debian: apt-get install chromium), or set CHROMIUM to its path")
    return found


def photograph(url: str, folder: Path) -> list[Path]:
    """Write a picture of every page and look to ``FOLDER/console-PAGE-LOOK.png``."""
    from playwright.sync_api import expect, sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        paints = sorted(_first_paints(browser, url))
        print(f"first contentful paint: median {paints[len(paints) // 2]:.0f} ms, {paints[0]:.0f} to {paints[-1]:.0f}")
        for look, context in LOOKS.items():
            page = browser.new_context(**context).new_page()
            for name in PAGES:
                page.goto(f"{url}/console#/{name}")
                page.reload()  # a page that was never there before: no tables of the last one
                page.get_by_text("live", exact=True).wait_for(timeout=1000 * _SHOWN)
                expect(page.get_by_text("Loading …")).to_have_count(0, timeout=1000 * _SHOWN)
                if name == "try":
                    _compare(page)
                page.wait_for_timeout(2500)  # a live figure or two
                file = folder / f"console-{name}-{look}.png"
                page.screenshot(path=file, full_page=look == "phone")
                _make_small(file)
                written.append(file)
        browser.close()
    return written


def _compare(page: Any) -> None:
    """Ask in two ways side by side, the right one with a boost for the most frequent value of the first feature."""
    page.get_by_role("button", name="Two side by side").click()
    page.get_by_role("button", name="Add the boost").click()
    page.get_by_text("are in the other list, too").first.wait_for(timeout=1000 * _SHOWN)
    page.evaluate("scrollTo(0, 0)")


def _first_paints(browser: Any, url: str) -> list[float]:
    """Open the console in browsers without a cache; return when each painted its first content, ms from the start."""
    paints = []
    for _ in range(_PAINTS):
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{url}/console")
        page.get_by_text("live", exact=True).wait_for(timeout=1000 * _SHOWN)
        painted = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        paints.append(float(page.evaluate(painted)))
        context.close()
    return paints


def _make_small(file: Path) -> None:
    """Write a picture again with as many colours as a page of text and lines has."""
    with Image.open(file) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


@contextmanager
def learning_loop() -> Iterator[str]:
    """Run the demo's loop and its producer; yield the server's address once it has learned for a while."""
    from hsnn.config.loader import load
    from hsnn.demo.sandbox import LogKind, Sandbox, ready
    from hsnn.streaming.datasets import load as load_dataset

    dataset = load_dataset("ml-100k", _EVENTS)
    sandbox = Sandbox(load(None, _SETTINGS), LogKind.redis, dataset.expire_after_idle)
    try:
        sandbox.start()
        sandbox.send("ml-100k", _EVENTS, speed=_SPEED)
        sandbox.roles.wait_until(lambda: ready(sandbox.server), "the first version", _LEARNING)
        end = time.monotonic() + _LEARNING
        for number in count():
            if time.monotonic() >= end:
                break
            sandbox.roles.check()
            _ask(sandbox.server, number)
            time.sleep(0.2)
        yield sandbox.server
    finally:
        sandbox.end()


def _ask(server: str, number: int) -> None:
    """Ask for somebody, and say what was shown, so that the page has requests and impressions to show."""
    user = str(1 + 7 * number % 900)
    asked = httpx.post(f"{server}/v1/retrieve", json={"user": user, "k": 20}, timeout=5.0)
    if asked.status_code != httpx.codes.OK:
        return
    answer = asked.json()
    shown = {"type": "impression", "recommendation_id": answer["recommendation_id"], "ts": answer["as_of"]}
    shown |= {"user": user, "items": answer["items"]}
    for _ in range(1 + (number % _REPEATED == 0)):
        httpx.post(f"{server}/v1/events", json=shown, timeout=5.0)


def main(arguments: list[str] | None = None) -> None:
    """Photograph the console of a server, or of a loop of its own."""
    parser = argparse.ArgumentParser(description="Photograph every page of the console.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs/img"))
    parser.add_argument("--url", help="a server that runs; without it, the demo's loop is started")
    chosen = parser.parse_args(arguments)
    if chosen.url:
        written = photograph(chosen.url, chosen.folder)
    else:
        with learning_loop() as url:
            written = photograph(url, chosen.folder)
    for file in written:
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    sys.exit(main())
