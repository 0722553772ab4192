"""``hsnn demo``: set the stage, let the events flow, show, check, tell."""

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
from hsnn.demo.checker import Verdict, judge
from hsnn.demo.collector import Watch
from hsnn.demo.figures import Figures
from hsnn.demo.interrupt import INTERRUPTED, Interrupt
from hsnn.demo.outcome import complaints, outcome
from hsnn.demo.probes import Probes
from hsnn.demo.processes import RoleError
from hsnn.demo.remaining_events import pending
from hsnn.demo.sample_users import Person, ask
from hsnn.demo.sandbox import LogKind, Stage, ready
from hsnn.embedded.process import EmbeddedError
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.reader import IndexReader
from hsnn.serving.api.client import Client
from hsnn.serving.errors import ClientError
from hsnn.streaming.datasets import load
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import connect

_TICK = 0.25
_LINE_EVERY = 5.0
_STALLED = 60.0  # seconds without progress after which the run is given up
_SETTLE = 30.0  # seconds that the last version may take beyond two snapshot intervals
_COMMITTED = 5.0
_FAULTS = (RoleError, EmbeddedError, ClientError)


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
        self._stage = Stage(loaded, log, self.dataset.expire_after_idle)
        self.interrupt = Interrupt(self._stage.kill)
        self.figures = Figures(
            data=self.dataset.name, log=log.value, wanted=len(self.dataset), first_ts=int(self.dataset.event_times()[0])
        )
        self.people: list[Person] = []
        self._finished = False
        self._probes: Probes | None = None
        self._line_at = 0.0

    def run(self, json_file: Path | None, keep: bool) -> int:
        """Run it all; return the exit status: 0, 1 if something is not as it must be, 130 after Ctrl+C."""
        faults: list[str] = ["it was cut short"]
        with self.interrupt:
            try:
                faults = self._play(json_file, keep)
            except _FAULTS as error:
                faults = [] if self.interrupt.asked() else [str(error)]
                self._say(faults)
            finally:
                if faults:
                    self._console.print(f"everything it wrote is kept in {self._stage.folder}", markup=False)
                self._stage.end(keep_folder=bool(faults))
        if not faults and not self._finished:
            self._console.print("stopped; nothing is left running")
            return INTERRUPTED
        return 1 if faults else 0

    def _play(self, json_file: Path | None, keep: bool) -> list[str]:
        """Run it; return what is not as it must be."""
        with self._console.status("starting") as status:
            told = status.update if self._console.is_terminal else self._console.print
            self._stage.start(self.interrupt.asked, told)
        if not self.interrupt.asked():
            self._flow()
        if self.interrupt.asked():
            self._console.print("stopping: every process is asked to end; Ctrl+C again ends them at once")
            return []
        verdict, figures = self._judged()
        self._tell(figures, json_file)
        faults = complaints(self.figures, verdict, figures["in_log"])
        self._say(faults)
        self._finished = True
        if keep and self.people:
            self._stay()
        return faults

    def _say(self, faults: list[str]) -> None:
        for fault in faults:
            self._console.print(f"hsnn demo: {fault}", style="bold red", markup=False, highlight=False)

    def _flow(self) -> None:
        """From the first event to the version that holds the last one."""
        stage, stop = self._stage, self.interrupt.asked
        redis = connect(stage.redis_url)
        watch = Watch(self.figures, redis, stage.produced, stage.scheduler, stage.server)
        stage.send(self._data, len(self.dataset))
        with self._shown() as show:
            self.figures.phase = "learning"
            moved = time.monotonic(), 0
            while not (stop() or self._drained()):
                self._tick(watch, show)
                moved = moved if moved[1] == self.figures.accounted else (time.monotonic(), self.figures.accounted)
                if time.monotonic() - moved[0] > _STALLED:
                    break  # the account will say what is missing
            self.figures.phase = "settling"
            reader, until = IndexReader(redis), time.monotonic() + _SETTLE + 2 * stage.config.trainer.snapshot_interval
            while not (stop() or self._settled(reader) or time.monotonic() > until):
                self._tick(watch, show)
            if self._probes is not None:
                self._probes.end()
            watch.refresh(pages=True)
            self.figures.phase = "done"
            show(True)
        watch.close()
        redis.close()

    def _tick(self, watch: Watch, show: Any) -> None:
        self._stage.roles.check()
        watch.refresh()
        self._probe()
        show(False)
        time.sleep(_TICK)

    def _probe(self) -> None:
        """Start probing as soon as the server has a version."""
        if self._probes is None and self.figures.index.version and ready(self._stage.server):
            self._probes = Probes(connect(self._stage.redis_url), self._stage.server, self._probed)
            self._probes.start()
        if self._probes is not None and self._probes.error is not None:
            raise ClientError(f"the freshness probes failed: {self._probes.error}")

    def _probed(self, seconds: float, answered: bool) -> None:
        self.figures.probes.append(seconds)
        self.figures.unanswered_probes += not answered

    def _drained(self) -> bool:
        figures = self.figures
        return figures.sent_all and figures.accounted >= figures.produced and figures.lag_records == 0

    def _settled(self, reader: IndexReader) -> bool:
        """Whether the server answers from a version that knows every event."""
        learned = self.figures.trained - self.figures.impressions
        try:
            current = reader.current()
            whole = current is not None and reader.manifest(current).events >= learned
        except VersionNotFoundError:
            return False
        return whole and self.figures.index.version == current

    def _judged(self) -> tuple[Verdict, dict[str, Any]]:
        stage = self._stage
        with self._console.status("asking for three users; replaying the log against every answer"):
            if self.figures.index.version:
                with Client(stage.server) as client:
                    self.people = ask(self.dataset, client)
            event_log = open_log(stage.config.streaming.log)
            try:
                self.figures.pending = self._pending(event_log) + self.figures.waiting
                idle = stage.config.trainer.expire_after_idle
                verdict, in_log = judge(event_log, stage.config.streaming, stage.answers, idle)
            finally:
                event_log.close()
        return verdict, outcome(self.figures, verdict, in_log)

    def _pending(self, event_log: EventLog) -> int:
        """Count what was not learned; the trainer commits a moment after its last checkpoint is published."""
        until = time.monotonic() + _COMMITTED
        while left := pending(event_log, self._stage.config.streaming):
            if time.monotonic() > until:
                break
            time.sleep(_TICK)
        return left

    def _tell(self, figures: dict[str, Any], json_file: Path | None) -> None:
        self._console.print(dashboard.summary(figures))
        self._console.print(dashboard.people(self.people))
        if json_file is not None:
            json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
            self._console.print(f"written to {json_file}", markup=False)

    def _stay(self) -> None:
        user = self.people[0].user
        body = msgspec.json.encode({"user": user, "k": 5}).decode()
        self._console.print(f"The server answers on {self._stage.server} until Ctrl+C:", markup=False)
        command = f"curl -s {self._stage.server}/v1/retrieve -d '{body}'"
        self._console.print(command, style="bold", markup=False, soft_wrap=True, highlight=False)
        while not self.interrupt.asked():
            self._stage.roles.check()
            time.sleep(_TICK)

    @contextmanager
    def _shown(self) -> Iterator[Any]:
        """Give a function that shows the figures: on a terminal a live panel, else a line every few seconds."""
        if self._console.is_terminal:
            with Live(console=self._console, auto_refresh=False) as live:
                yield lambda last: live.update(dashboard.render(self.figures), refresh=True)  # noqa: ARG005
        else:
            yield self._line

    def _line(self, last: bool) -> None:
        if last or time.monotonic() - self._line_at >= _LINE_EVERY:
            self._line_at = time.monotonic()
            self._console.print(dashboard.line(self.figures), markup=False, highlight=False, soft_wrap=True)
