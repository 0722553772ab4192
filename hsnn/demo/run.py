"""Run the demo: start the sandbox, replay the events, show figures, check the answers, print a summary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live

from hsnn.config.loader import Loaded
from hsnn.demo import dashboard
from hsnn.demo.checker import CheckResult, check_run
from hsnn.demo.collector import FigureCollector
from hsnn.demo.figures import Figures
from hsnn.demo.interrupt import INTERRUPTED, Interrupt
from hsnn.demo.outcome import find_problems, outcome
from hsnn.demo.probes import FreshnessProbes
from hsnn.demo.processes import RoleProcessError
from hsnn.demo.remaining_events import pending
from hsnn.demo.sample_users import SampleUser, query_sample_users
from hsnn.demo.sandbox import LogKind, Sandbox, ready
from hsnn.embedded.process import EmbeddedError
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.reader import IndexReader
from hsnn.serving.client.client import Client
from hsnn.serving.errors import ClientError
from hsnn.streaming.datasets import load
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import connect

# Seconds between two updates of the figures.
_TICK_SECONDS = 0.25

# Seconds between two lines of output where there is no terminal.
_LINE_EVERY = 5.0

# Seconds without progress after which the run is given up.
_STALLED_SECONDS = 60.0

# Seconds that the last version may take beyond two snapshot intervals: a build of the index takes a few.
_LAST_VERSION_SECONDS = 30.0

# Seconds that the last commit may take: the trainer commits a moment after its last checkpoint is published.
_COMMIT_SECONDS = 5.0
_EXPECTED_ERRORS = (RoleProcessError, EmbeddedError, ClientError)


class Demo:
    """One run of the demo.

    Parameters
    ----------
    loaded
        The user's configuration.
    data
        Data set as for `hsnn.streaming.datasets.load`.
    events
        Engagements to send at most; None: all.
    """

    def __init__(self, loaded: Loaded, data: str, *, events: int | None, log: LogKind, console: Console) -> None:
        self._console = console
        with console.status(f"reading {data.partition(':')[0]}"):
            self.dataset = load(data, events)
        self._data = data
        self._sandbox = Sandbox(loaded, log, self.dataset.expire_after_idle)
        self.interrupt = Interrupt(self._sandbox.kill)
        self.figures = Figures(
            data=self.dataset.name, log=log.value, wanted=len(self.dataset), first_ts=int(self.dataset.event_times()[0])
        )
        self.users: list[SampleUser] = []
        self._finished = False
        self._probes: FreshnessProbes | None = None
        self._line_at = 0.0

    def run(self, json_file: Path | None, keep: bool) -> int:
        """Run the demo; return the exit status: 0, 1 if a check fails, 130 after Ctrl+C."""
        problems: list[str] = ["it was interrupted"]
        with self.interrupt:
            try:
                problems = self._run_steps(json_file, keep)
            except _EXPECTED_ERRORS as error:
                problems = [] if self.interrupt.asked() else [str(error)]
                self._print_problems(problems)
            finally:
                if problems:
                    self._console.print(f"everything it wrote is kept in {self._sandbox.folder}", markup=False)
                self._sandbox.end(keep_folder=bool(problems))
        if not problems and not self._finished:
            self._console.print("stopped; nothing is left running")
            return INTERRUPTED
        return 1 if problems else 0

    def _run_steps(self, json_file: Path | None, keep: bool) -> list[str]:
        """Run all steps; return a sentence for every failed check."""
        with self._console.status("starting") as status:
            report = status.update if self._console.is_terminal else self._console.print
            self._sandbox.start(self.interrupt.asked, report)
        if not self.interrupt.asked():
            self._console.print(f"The console, while it runs: {self._console_page}", markup=False, soft_wrap=True)
            self._replay_events()
        if self.interrupt.asked():
            self._console.print("stopping: every process is asked to end; Ctrl+C again ends them at once")
            return []
        result, figures = self._check_answers()
        self._print_summary(figures, json_file)
        problems = find_problems(self.figures, result, figures["in_log"])
        self._print_problems(problems)
        self._finished = True
        if keep and self.users:
            self._keep_serving()
        else:
            self._console.print("With --keep it goes on serving, and the console with it.", markup=False)
        return problems

    def _print_problems(self, problems: list[str]) -> None:
        for problem in problems:
            self._console.print(f"hsnn demo: {problem}", style="bold red", markup=False, highlight=False)

    def _replay_events(self) -> None:
        """Replay from the first event to the version that has the last one."""
        sandbox, stop = self._sandbox, self.interrupt.asked
        redis = connect(sandbox.redis_url)
        collector = FigureCollector(
            self.figures, redis, produced=sandbox.produced, scheduler=sandbox.scheduler, server=sandbox.server
        )
        sandbox.send(self._data, len(self.dataset))
        with self._shown() as show:
            self.figures.phase = "training"
            last_progress = time.monotonic(), 0
            while not (stop() or self._drained()):
                self._tick(collector, show)
                if last_progress[1] != self.figures.accounted:
                    last_progress = time.monotonic(), self.figures.accounted
                if time.monotonic() - last_progress[0] > _STALLED_SECONDS:
                    break  # the checks at the end report what is missing
            self.figures.phase = "publishing"
            reader, until = (
                IndexReader(redis),
                time.monotonic() + _LAST_VERSION_SECONDS + 2 * sandbox.config.trainer.snapshot_interval,
            )
            while not (stop() or self._up_to_date(reader) or time.monotonic() > until):
                self._tick(collector, show)
            if self._probes is not None:
                self._probes.end()
            collector.refresh(pages=True)
            self.figures.phase = "done"
            show(True)
        collector.close()
        redis.close()

    def _tick(self, collector: FigureCollector, show: Any) -> None:
        self._sandbox.roles.check()
        collector.refresh()
        self._start_probes()
        show(False)
        time.sleep(_TICK_SECONDS)

    def _start_probes(self) -> None:
        """Start the freshness probes once the server has a version; raise if they failed."""
        if self._probes is None and self.figures.index.version and ready(self._sandbox.server):
            self._probes = FreshnessProbes(connect(self._sandbox.redis_url), self._sandbox.server, self._add_probe)
            self._probes.start()
        if self._probes is not None and self._probes.error is not None:
            raise ClientError(f"the freshness probes failed: {self._probes.error}")

    def _add_probe(self, seconds: float, answered: bool) -> None:
        self.figures.probes.append(seconds)
        self.figures.unanswered_probes += not answered

    def _drained(self) -> bool:
        figures = self.figures
        return figures.sent_all and figures.accounted >= figures.produced and figures.lag_records == 0

    def _up_to_date(self, reader: IndexReader) -> bool:
        """Return whether the server answers from a version that has every event."""
        trained = self.figures.trained - self.figures.impressions
        try:
            current = reader.current()
            whole = current is not None and reader.manifest(current).events >= trained
        except VersionNotFoundError:
            return False
        return whole and self.figures.index.version == current

    def _check_answers(self) -> tuple[CheckResult, dict[str, Any]]:
        sandbox = self._sandbox
        with self._console.status("querying three users; checking every answer against the log"):
            if self.figures.index.version:
                with Client(sandbox.server) as client:
                    self.users = query_sample_users(self.dataset, client)
            event_log = open_log(sandbox.config.streaming.log)
            try:
                self.figures.pending = self._pending(event_log) + self.figures.waiting
                idle = sandbox.config.trainer.expire_after_idle
                result, in_log = check_run(event_log, sandbox.config.streaming, sandbox.answers, idle)
            finally:
                event_log.close()
        return result, outcome(self.figures, result, in_log)

    def _pending(self, event_log: EventLog) -> int:
        """Count the events that were not trained, once the trainer's last commit has arrived."""
        until = time.monotonic() + _COMMIT_SECONDS
        while left := pending(event_log, self._sandbox.config.streaming):
            if time.monotonic() > until:
                break
            time.sleep(_TICK_SECONDS)
        return left

    def _print_summary(self, figures: dict[str, Any], json_file: Path | None) -> None:
        self._console.print(dashboard.summary(figures))
        self._console.print(dashboard.users_table(self.users))
        if json_file is not None:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
            self._console.print(f"written to {json_file}", markup=False)

    @property
    def _console_page(self) -> str:
        return f"{self._sandbox.server}/console"

    def _keep_serving(self) -> None:
        user = self.users[0].user
        body = msgspec.json.encode({"user": user, "k": 5}).decode()
        self._console.print(f"Open {self._console_page} in a browser; the server answers until Ctrl+C:", markup=False)
        command = f"curl -s {self._sandbox.server}/v1/retrieve -d '{body}'"
        self._console.print(command, style="bold", markup=False, soft_wrap=True, highlight=False)
        while not self.interrupt.asked():
            self._sandbox.roles.check()
            time.sleep(_TICK_SECONDS)

    @contextmanager
    def _shown(self) -> Iterator[Any]:
        """Yield a function that shows the figures: on a terminal a live panel, else a line every few seconds."""
        if self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False) as live:
                yield lambda last: live.update(dashboard.render(self.figures), refresh=True)  # noqa: ARG005
        else:
            yield self._line

    def _line(self, last: bool) -> None:
        if last or time.monotonic() - self._line_at >= _LINE_EVERY:
            self._line_at = time.monotonic()
            self._console.print(dashboard.line(self.figures), markup=False, highlight=False, soft_wrap=True)
