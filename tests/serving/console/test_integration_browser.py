"""The console in Chromium, on a loop of real processes that learns meanwhile: what it shows, and what its buttons do.

Slow, because the loop is real: three processes that load torch, and a stream of events.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from hsnn.config.loader import load
from hsnn.demo.sandbox import LogKind, Sandbox, ready
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.open import open_log
from tests import browser as browsers
from tests.waiting import START_DEADLINE

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

expect.set_options(timeout=browsers.SLOW_MS)

PAGES = {
    "now": "Learning",
    "try": "For whom",
    "index": "Versions",
    "stream": "Dead letters",
    "jobs": "Jobs of the scheduler",
    "help": "Processes and ports",
}
"""A heading of each page."""

# Ratings of the data set, a minute apart, and how fast they are sent: 200 a second last five minutes, and leave the
# processors to the browser.
_EVENTS, _SPEED = 60_000, "12000x"

# A model that has nodes soon.
SMALL = ("trainer.model.nodes=32", "trainer.index.seed_after=1024", "trainer.prequential_share=0.1")

# Shown items wait for an hour of stream time, which is passed in less than a second while the stream lasts.
JOINED = ('streaming.tasks=["rate"]', "streaming.attribution_window=1h")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A loop that learns; some of its events cannot be read."""
    patient = "serving.deadline=60s"  # the machine trains meanwhile
    sandbox = Sandbox(load(None, (*SMALL, *JOINED, patient)), LogKind.redis, None)
    try:
        sandbox.start()
        log = open_log(sandbox.config.streaming.log)
        topic = sandbox.config.streaming.engagements_topic
        log.create_topic(topic, 1)
        log.append(topic, [ProducerRecord(b"u", b'{"broken": ', ()) for _ in range(3)])
        log.flush()
        log.close()
        sandbox.send(f"ml-100k:{write_ratings(tmp_path_factory.mktemp('ratings'))}", _EVENTS, ahead=500, speed=_SPEED)
        sandbox.roles.wait_until(lambda: ready(sandbox.server), "the first version", START_DEADLINE)
        sandbox.roles.wait_until(lambda: kept_versions(sandbox.server) > 1, "the second version", START_DEADLINE)
        yield sandbox
    finally:
        sandbox.end()


@pytest.fixture
def loop(running: Sandbox) -> Iterator[str]:
    """Address of the loop's server; all processes must run after the test, since figures of a dead one stand still."""
    yield running.server
    running.roles.check()


def kept_versions(server: str) -> int:
    return len(httpx.get(f"{server}/v1/console/versions", timeout=30.0).json()["versions"])


def write_ratings(folder: Path) -> Path:
    """Write a folder in GroupLens' format: ratings by 300 users of three tastes, a new film every 50 ratings."""
    rng = np.random.default_rng(3)
    at = np.arange(_EVENTS)
    arrived = 90 + at // 50
    users = rng.integers(1, 301, _EVENTS)
    films = 1 + (rng.integers(0, arrived) // 3 * 3 + users % 3) % arrived
    rows = zip(users.tolist(), films.tolist(), (880_000_000 + 60 * at).tolist(), strict=True)
    (folder / "u.data").write_text("".join(f"{user}\t{film}\t4\t{ts}\n" for user, film, ts in rows))
    lines = []
    for film in range(1, 92 + _EVENTS // 50):
        flags = "|".join("1" if genre == film % 3 + 1 else "0" for genre in range(19))
        lines.append(f"{film}|Film {film} (1990)|01-Jan-1990||http://x|{flags}")
    (folder / "u.item").write_text("\n".join(lines) + "\n", "latin-1")
    (folder / "u.user").write_text("".join(f"{user}|24|M|writer|1\n" for user in range(1, 301)))
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, loop: str) -> Iterator[Page]:
    """A page of the console, on which nothing may go wrong."""
    problems: list[str] = []
    context = chromium.new_context(base_url=loop, viewport={"width": 1280, "height": 900})
    yield browsers.open_page(context, problems)
    context.close()
    assert problems == []


def show(page: Page, name: str) -> None:
    page.goto(f"/console#/{name}")
    expect(page.get_by_role("heading", name=PAGES[name], exact=True)).to_be_visible()
    expect(page.get_by_text("Loading …")).to_have_count(0)


def test_figures_move_without_a_reload(page: Page, loop: str) -> None:
    show(page, "now")
    learned = page.get_by_text(re.compile(r"^[\d,]+ events learned$"))
    before = learned.inner_text()
    last = 1000 * (880_000_000 + 60 * _EVENTS)  # on a fast machine the stream is at its end by now
    more = [
        {"type": "interaction", "id": f"more-{number}", "ts": last, "user": f"{number}", "item": "1", "action": "rate"}
        for number in range(1, 101)
    ]
    assert httpx.post(f"{loop}/v1/events", json=more, timeout=30.0).status_code == 202
    expect(learned).not_to_have_text(before)
    expect(page.locator(".connection")).to_have_text("live")
    expect(page.locator(".u-wrap canvas")).to_have_count(8)
    expect(page.get_by_text("dead letters", exact=True)).to_be_visible()


LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}

# What axe checks: all its rules once, of the dark look its colours, on the phone what may be touched.
CHECKED = {"light": None, "dark": {"runOnly": ["color-contrast"]}, "phone": {"runOnly": ["target-size"]}}


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_shows_data_can_be_read_by_everybody_and_fits(chromium: Browser, loop: str, look: str) -> None:
    problems: list[str] = []
    context = chromium.new_context(base_url=loop, **LOOKS[look], bypass_csp=True)  # axe is a script of its own
    page = browsers.open_page(context, problems)
    for name in PAGES:
        show(page, name)
        assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if look == "dark" else "light")
        found = Axe().run(page, options=CHECKED[look]).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"][:3]]) for one in found] == [], name
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= LOOKS[look]["viewport"]["width"], f"{name} is {width} pixels wide"
    context.close()
    assert problems == []


def test_a_page_that_is_opened_later_has_the_past(loop: str) -> None:
    deadline = time.monotonic() + 60
    while not (series := httpx.get(f"{loop}/v1/console/history?seconds=3600", timeout=30.0).json())["t"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert len(series["t"]) == len(series["events_per_second"]) == len(series["lag_records"])


def test_recommendations_follow_user_session_filter_and_mode(page: Page) -> None:
    show(page, "try")
    served = page.get_by_role("list", name="Recommendations: as served")
    expect(served.get_by_role("listitem")).to_have_count(10)
    page.get_by_label("Search users").fill("29")
    page.get_by_role("button", name="299", exact=True).click()
    expect(page.get_by_role("heading", name="User 299")).to_be_visible()
    page.get_by_role("button", name="20", exact=True).click()
    expect(served.get_by_role("listitem")).to_have_count(20)
    page.get_by_label("Mode").select_option("popularity")
    expect(
        page.get_by_role("list", name="Recommendations: popularity", exact=True).get_by_role("listitem")
    ).to_have_count(20)
    page.get_by_label("Mode").select_option("beam")
    page.get_by_role("button", name="Adventure", exact=True).click()
    served = page.get_by_role("list", name="Recommendations: as served, 1 filter")
    genres = served.locator('.tag[title="genres"]')
    expect(genres.filter(has_text="Adventure")).to_have_count(20)
    page.get_by_role("button", name="Remove 1 filter").click()
    served = page.get_by_role("list", name="Recommendations: as served", exact=True)
    page.get_by_role("button", name="A session").click()
    page.get_by_label("Add an item").fill("film 2 ")
    page.get_by_role("button", name="Film 2 (1990) add").click()
    expect(page.get_by_role("button", name=re.compile("^Film 2 .1990. ."), pressed=True)).to_be_visible()
    served.get_by_role("button").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("can be recommended")).to_be_visible()
    # the stream goes on: what was first when the list was made may have fallen since
    expect(dialog.get_by_text(re.compile(r"^Place \d+, from |^it is number \d+ by score"))).to_be_visible()
    expect(dialog.get_by_role("region", name="Similar items").get_by_role("button")).to_have_count(6)
    dialog.get_by_role("button", name="Put it into a session").click()
    expect(page.locator(".chips button[title=Remove]")).to_have_count(2)


def test_two_lists_side_by_side_show_what_boosts_by_hand_move(page: Page) -> None:
    show(page, "try")
    page.get_by_role("button", name="Two side by side").click()
    page.get_by_label("Boosted feature").select_option("genres")
    left = page.get_by_role("list", name="Left: as served")
    genre = left.locator('.tag[title="genres"]').first.inner_text()  # which one is liked depends on what was learned
    page.get_by_label("Boosted value").select_option(genre)
    page.get_by_label("Added to the score").fill("-50")
    page.get_by_role("button", name="Add the boost").click()
    right = page.get_by_role("list", name="Right: as served, 1 boost")
    expect(right.get_by_role("listitem")).to_have_count(10)
    # a kind of films is taken away: those of the left list that are not come up, or others are only here
    expect(right.locator('.tag[title="genres"]').filter(has_text=genre)).to_have_count(0)
    expect(right.locator(".move").first).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ of 10 are in the other list, too")).first).to_be_visible()
    page.get_by_role("button", name="Range").click()
    page.get_by_label("Number or time").select_option("$first_seen")
    page.get_by_label("At least").fill("1997-01-01")
    page.get_by_role("button", name="Add the boost").click()
    page.get_by_role("button", name="Recency").click()
    page.get_by_label("Halved every so many hours").fill("12")
    page.get_by_role("button", name="Add the boost").click()
    expect(page.get_by_role("list", name="Right: as served, 3 boosts").get_by_role("listitem")).to_have_count(10)
    page.get_by_text("The request, right").click()
    expect(page.get_by_text('"half_life_hours": 12')).to_be_visible()
    page.get_by_role("button", name="Left", exact=True).click()
    page.get_by_role("button", name="Copy from the right").click()
    expect(page.get_by_role("list", name="Left: as served, 3 boosts").get_by_role("listitem")).to_have_count(10)
    page.get_by_role("button", name=re.compile("halved every 12 h")).click()
    expect(page.get_by_role("list", name="Left: as served, 2 boosts")).to_be_visible()
    page.get_by_role("button", name="One list").click()
    expect(page.get_by_role("list", name="Recommendations: as served, 2 boosts")).to_be_visible()


def test_joiner_and_deduplication_are_shown_while_they_work(page: Page, loop: str) -> None:
    show(page, "stream")
    answer = httpx.post(f"{loop}/v1/retrieve", json={"user": "1", "k": 5}, timeout=30.0).json()
    shown = {"type": "impression", "id": "twice", "ts": answer["as_of"], "user": "1", "items": answer["items"]}
    for _ in range(2):
        assert httpx.post(f"{loop}/v1/events", json=shown, timeout=30.0).status_code == 202
    joiner, dedup = (page.get_by_role("region", name=name) for name in ("Joiner", "Deduplication"))
    expect(joiner.get_by_text("for up to 60 min of stream time")).to_be_visible()
    expect(dedup.get_by_text(re.compile(r"^1 \("))).to_be_visible()  # dropped
    expect(dedup.get_by_text(re.compile(r"^[\d,]+ of at most 2,000,000$"))).to_be_visible()
    expect(page.locator(".u-wrap canvas")).to_have_count(3)


def test_nodes_are_looked_into_and_versions_compared_rolled_back_held_and_released(page: Page) -> None:
    show(page, "index")
    page.locator(".treemap rect").first.click()
    expect(page.get_by_role("heading", name=re.compile(r"^Node \d+$"))).to_be_visible()
    expect(page.get_by_role("list", name=re.compile("Items of node")).get_by_role("listitem").first).to_be_visible()
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.get_by_text(re.compile(r"[\d,]+ came and [\d,]+ went since version \d+")).last).to_be_visible()
    page.get_by_role("button", name="All nodes").click()
    page.get_by_role("button", name="Hold publishing").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.get_by_text("publishing is held since")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Compare with")).first.click()
    expect(page.get_by_role("heading", name=re.compile(r"^From version \d+ to \d+$"))).to_be_visible()
    row = page.get_by_role("row").filter(has=page.get_by_role("button", name="Roll back")).first
    number = row.get_by_role("cell").first.inner_text().strip()
    row.get_by_role("button", name="Roll back").click()
    page.get_by_role("button", name="Yes").click()
    expect(page.get_by_role("row").filter(has_text="in use").get_by_role("cell").first).to_contain_text(number)
    expect(page.get_by_text(re.compile(f"rolled back to version {number}"))).to_be_visible()
    page.get_by_role("button", name="Release publishing").click()
    expect(page.get_by_role("button", name="Hold publishing")).to_be_visible()


def test_dead_letters_are_read_and_sent_again(page: Page) -> None:
    show(page, "stream")
    expect(page.get_by_role("table").first).to_contain_text("new")
    page.locator("summary").first.click()
    expect(page.get_by_text('{"broken": ').first).to_be_visible()
    page.get_by_role("button", name=re.compile("^Send .* again$")).click()
    page.get_by_role("button", name="Yes").click()
    expect(page.get_by_text("3 letters sent again.")).to_be_visible()


def test_jobs_run_pause_and_resume_and_the_timeline_says_who_asked(page: Page) -> None:
    show(page, "jobs")
    row = page.get_by_role("row").filter(has=page.get_by_role("button", name="clean", exact=True))
    row.get_by_role("button", name="Run now").click()
    expect(row.get_by_text("The leader has taken it.")).to_be_visible()
    row.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Yes").click()
    expect(row.get_by_text("paused", exact=True)).to_be_visible()
    row.get_by_role("button", name="Resume").click()
    expect(row.get_by_role("button", name="Pause")).to_be_visible()
    signals = page.get_by_role("region", name="Signals")
    expect(signals.get_by_role("img", name=re.compile(r"^model loss, \d+ windows?$"))).to_be_visible()
    page.get_by_role("button", name="By people").click()
    expect(page.get_by_text(re.compile("asked to pause the job clean")).first).to_be_visible()
    row.get_by_role("button", name="clean", exact=True).click()
    expect(page.get_by_text(re.compile("done after .*, by hand")).first).to_be_visible()


def test_the_keyboard_reaches_everything(page: Page) -> None:
    show(page, "now")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.get_by_role("link", name="Index").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Versions")).to_be_visible()
    expect(page.get_by_role("main")).to_be_focused()


def test_the_page_paints_after_three_small_files(page: Page) -> None:
    """Hold what the time of the first paint depends on; the time itself is measured by tools/screenshots.py."""
    page.goto("/console")
    expect(page.get_by_role("heading", name="Learning")).to_be_visible()
    files = page.evaluate(
        "performance.getEntries().filter((one) => ['navigation', 'link', 'script'].includes(one.initiatorType))"
        ".map((one) => [new URL(one.name).pathname, one.transferSize])"
    )
    assert {path for path, _ in files} == {"/console", "/console/console.css", "/console/console.js"}
    assert 0 < sum(size for _, size in files) < 300_000  # bytes
    assert page.evaluate("performance.getEntriesByName('first-contentful-paint').length") == 1
