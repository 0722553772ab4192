"""A real browser for tests of pages: the system's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

SLOW_MS = 60_000
"""Milliseconds that a state may take: a machine of two cores trains beside the browser."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium; without it a skip, with REQUIRE_BROWSER=1 a failure."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        message = "no browser to test in; install chromium, or set CHROMIUM to its path"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # as root there is none
        try:
            yield browser
        finally:
            browser.close()


def open_page(context: BrowserContext, problems: list[str]) -> Page:
    """Open a page whose console errors, failed scripts and violated policies are added to `problems`."""
    context.set_default_timeout(SLOW_MS)
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    return page
