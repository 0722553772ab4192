"""Run everything until Ctrl+C, and show how it goes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import redis
from rich.console import Console, RenderableType
from rich.live import Live

from hsnn.config.loader import Loaded
from hsnn.demo.collector import FigureCollector
from hsnn.demo.figures import Figures
from hsnn.demo.interrupt import Interrupt
from hsnn.demo.sandbox import ready
from hsnn.streaming.redis.client import connect
from hsnn.up.screen import RoleRow, figures_text, render
from hsnn.up.stack import ROLES, LocalStack

# Seconds between two updates of the screen.
_TICK_SECONDS = 0.5

# Seconds between two lines about the figures where there is no terminal.
_LINE_EVERY = 30.0

# Seconds between two looks at the health of the roles.
_HEALTH_EVERY = 2.0

# Sentences that stay on the screen.
_SAID = 5


class Up:
    """One run of ``hsnn up``.

    Parameters
    ----------
    loaded
        The user's configuration.
    folder
        Where everything is kept.
    console
        What is written to.
    """

    def __init__(self, loaded: Loaded, folder: Path, console: Console) -> None:
        self._console = console
        self._said: deque[str] = deque(maxlen=_SAID)
        self._live: Live | None = None
        self.stack = LocalStack(loaded, folder, self._say)
        self.interrupt = Interrupt(self.stack.kill)
        self._ready: dict[str, bool] = {}
        self._line_at = self._health_at = -_LINE_EVERY
        self._has_console = False

    def run(self, data: str | None) -> int:
        """Run until Ctrl+C or SIGTERM; return the exit status 0."""
        with self.interrupt:
            try:
                self.stack.start(data, self.interrupt.asked)
                if not self.interrupt.asked():
                    self._watch()
            finally:
                self._say("stopping: the trainer writes a last checkpoint; Ctrl+C again ends everything at once")
                self.stack.end()
        self._say(f"stopped; everything is kept in {self.stack.folder}, and `hsnn up` goes on from there")
        return 0

    def _watch(self) -> None:
        stack, figures = self.stack, Figures()
        self._has_console = self._answers("/console")
        if not self._console.is_terminal:
            for name, address in self._addresses().items():
                self._say(f"{name}: {address}")
        client = connect(stack.redis_url)
        collector = FigureCollector(
            figures,
            client,
            produced=stack.folder / "none",  # producers are the user's own
            scheduler=stack.health["scheduler"],
            server=stack.server,
        )
        with self._screen() as show:
            while not self.interrupt.asked():
                stack.check()
                with suppress(redis.RedisError):  # it is being started again
                    collector.refresh()
                show(figures)
                time.sleep(_TICK_SECONDS)
        collector.close()
        client.close()

    def _addresses(self) -> dict[str, str]:
        stack = self.stack
        addresses = {"API": stack.server}
        if self._has_console:
            addresses["console"] = f"{stack.server}/console"
        addresses["Redis"] = f"{stack.redis_url} ({stack.durability})"
        addresses["commands"] = f"hsnn index show --config {stack.file}"
        return addresses

    def _answers(self, path: str) -> bool:
        try:
            return httpx.get(self.stack.server + path, timeout=2.0, verify=False).status_code < 400  # noqa: S501 - itself
        except httpx.HTTPError:
            return False

    def _rows(self) -> list[RoleRow]:
        stack, now = self.stack, time.monotonic()
        if now - self._health_at >= _HEALTH_EVERY:
            self._health_at = now
            self._ready = {role: ready(stack.health[role]) for role in ROLES}
        rows = []
        for role in ROLES:
            state = "ended" if stack.restarts.waiting(role) else "ready" if self._ready.get(role) else "starting"
            restarts = stack.restarts.counts.get(role, 0)
            seconds = stack.roles.uptime(role)
            rows.append(RoleRow(role, state, seconds=seconds, restarts=restarts, address=stack.health[role]))
        return rows

    def _say(self, sentence: str) -> None:
        self._said.append(sentence)
        if self._live is None:
            self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def _screen(self) -> Iterator[Callable[[Figures], None]]:
        """Yield a function that shows the figures: on a terminal a live panel, else a line every half minute."""
        if not self._console.is_terminal:
            yield self._line
            return
        with Live(console=self._console, auto_refresh=False, screen=False) as live:
            self._live = live
            try:
                yield lambda figures: live.update(self._panel(figures), refresh=True)
            finally:
                self._live = None

    def _panel(self, figures: Figures) -> RenderableType:
        return render(str(self.stack.folder), self._addresses(), self._rows(), figures=figures, said=list(self._said))

    def _line(self, figures: Figures) -> None:
        if time.monotonic() - self._line_at >= _LINE_EVERY:
            self._line_at = time.monotonic()
            self._say(figures_text(figures))
