"""The page *Try it* of a server that follows two indexes, in Chromium."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from hsnn.streaming.redis.keys import key
from tests import browser as browsers
from tests.serving import challenger
from tests.serving.server_process import ServerProcess
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

expect.set_options(timeout=browsers.SLOW_MS)


@pytest.fixture
def page(redis_server, redis_client, plant, new_plant, tmp_path) -> Iterator[Page]:
    """The page, on which nothing may go wrong."""
    challenger.flip(redis_client, challenger.write(challenger.fill(new_plant()), redis_client))
    plant.write(redis_client)
    redis_client.set(key("current"), 1)
    config = {"port": 0, "engine": False, "experiment": {"name": "two", "arms": challenger.ARMS}}
    server, problems = ServerProcess(redis_server, tmp_path, json.dumps(config)), list[str]()
    try:
        server.wait_ready()
        ready = lambda: httpx.get(f"{server.url}/healthz/ready").json()["detail"]["indexes"][challenger.PREFIX]["ready"]  # noqa: E731
        wait_until(ready)
        with browsers.chromium() as browser:
            context = browser.new_context(base_url=server.url, viewport={"width": 1280, "height": 900})
            yield browsers.open_page(context, problems)
        assert problems == []
    finally:
        server.stop()


def names(page: Page, title: str) -> Locator:
    """Names in a list of the page; an earlier list may stand there until its successor has come."""
    return page.get_by_role("list", name=title, exact=True).locator(".name")


def test_two_lists_side_by_side_are_those_of_the_two_indexes(page):
    page.goto("/console#/try")
    page.get_by_role("button", name="u0", exact=True).click()
    expect(names(page, "Recommendations: as served").first).to_have_text(re.compile("c0-|c3-"))  # of either arm
    page.get_by_role("button", name="Two side by side").click()
    own, other = names(page, "Left: as served, index hsnn"), names(page, "Right: as served, index challenger")
    expect(own.first).to_have_text(re.compile("c0-"))
    expect(other.first).to_have_text(re.compile("c3-"))
    page.get_by_role("combobox", name="Index").select_option("hsnn")
    expect(names(page, "Right: as served, index hsnn")).to_have_text(own.all_inner_texts())
