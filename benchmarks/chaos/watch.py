"""What an operator sees: the metrics and health pages of all roles at one moment, and signs of trouble in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx

from benchmarks.chaos.processes import Role

# seconds that a page may take, as a scrape of a monitoring system
_PAGE_SECONDS = 5.0
# seconds behind the clock that stream time is not while events arrive and are learned
_STILL_SECONDS = 6.0
_STARTED = "process_start_time_seconds"


class Page(NamedTuple):
    """What one role shows; `metrics` is None where it does not answer."""

    metrics: Mapping[str, float] | None
    ready: bool
    said: str = ""


@dataclass(frozen=True)
class View:
    """The pages of all roles at one moment, by name."""

    pages: Mapping[str, Page]

    def value(self, role: str, metric: str, default: float = 0.0) -> float:
        """Return a metric, summed over its labels if none are named; `default` where the role does not show it."""
        page = self.pages.get(role)
        if page is None or page.metrics is None:
            return default
        found = [value for name, value in page.metrics.items() if name == metric or name.startswith(metric + "{")]
        return sum(found) if found else default

    def answers(self, role: str) -> bool:
        """Return whether a role shows its metrics."""
        return role in self.pages and self.pages[role].metrics is not None

    def ready(self, role: str) -> bool:
        """Return whether a role says that it is ready."""
        return role in self.pages and self.pages[role].ready


class Sign(NamedTuple):
    """Something that an operator sees: its name, and whether it is there, given the view before the disruption."""

    name: str
    seen: Callable[[View, View], bool]


def is_down(role: str) -> Sign:
    """Return the sign of a role that does not answer, or is another process than before."""

    def seen(before: View, now: View) -> bool:
        return not now.answers(role) or now.value(role, _STARTED) > before.value(role, _STARTED)

    return Sign("`up` is 0, or `process_start_time_seconds` is new", seen)


def is_not_ready(role: str) -> Sign:
    """Return the sign of a role that says that it is not ready."""
    return Sign("`/healthz/ready` is 503", lambda _, now: now.answers(role) and not now.ready(role))


def grows(role: str, metric: str) -> Sign:
    """Return the sign of a metric that is larger than before the disruption."""
    name = metric.replace('"', "")
    return Sign(f"`{name}` grows", lambda before, now: now.value(role, metric) > before.value(role, metric))


def exceeds(roles: Sequence[str], metric: str, limit: float) -> Sign:
    """Return the sign of a metric whose size is beyond a limit in any of these roles."""
    return Sign(f"`{metric}`", lambda _, now: any(abs(now.value(role, metric)) > limit for role in roles))


def is_zero(role: str, metric: str) -> Sign:
    """Return the sign of a metric that a role shows as 0, at last."""
    return Sign(f"`{metric}` is 0", lambda _, now: now.value(role, metric, 1.0) == 0)


def stands_still(role: str, metric: str) -> Sign:
    """Return the sign of a stream time that is seconds behind the clock, while events are sent all the time."""
    return Sign(f"`{metric}` stands still", lambda _, now: 0 < now.value(role, metric) < time.time() - _STILL_SECONDS)


def says(log: Path, text: str) -> Sign:
    """Return the sign of a line in a log from now on."""
    begin = log.stat().st_size if log.exists() else 0

    def seen(_: View, __: View) -> bool:
        if not log.exists():
            return False
        with log.open("rb") as file:
            file.seek(begin)
            return text.encode() in file.read()

    return Sign(f'log: "{text}"', seen)


class RoleScraper:
    """Scrapes all roles at once."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(8)
        self._http = httpx.Client(timeout=_PAGE_SECONDS)

    def view(self, roles: Sequence[Role]) -> View:
        """Return what they show now."""
        pages = self._pool.map(self._page, [role.url for role in roles])
        return View(dict(zip((role.name for role in roles), pages, strict=True)))

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        self._http.close()

    def _page(self, url: str) -> Page:
        try:
            metrics = parse(self._http.get(f"{url}/metrics").text)
            ready = self._http.get(f"{url}/healthz/ready")
        except httpx.HTTPError:
            return Page(None, False)
        return Page(metrics, ready.status_code == httpx.codes.OK, ready.text)


def parse(text: str) -> dict[str, float]:
    """Read the text format of Prometheus.

    Examples
    --------
    >>> parse('# HELP a\\na{b="c d"} 2.0\\n')
    {'a{b="c d"}': 2.0}
    """
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}
