"""Users who ask both servers all the time, and look for items whose end has passed."""

from __future__ import annotations

import time
from threading import Event, Thread

import httpx

from benchmarks.chaos.traffic import Traffic

# seconds between two questions, and for an answer
_PAUSE, _ANSWER_SECONDS = 0.25, 5.0
# items per answer: many, to catch one that should have gone
_ITEMS = 100


class Queries(Thread):
    """Asks until `end`.

    Attributes
    ----------
    struck : str
        Name of the process that cannot work at the moment.
    answers : int
    faults : list of str
        Answers that no disruption explains: status 5xx, or none from a server that nobody struck.
    late : float
        Seconds by which the end of an item that was returned had passed, at most.
    """

    def __init__(self, servers: dict[str, str], traffic: Traffic, seed: int) -> None:
        super().__init__(name="queries", daemon=True)
        self._servers, self._traffic, self._seed = servers, traffic, seed
        self._ended = Event()
        self.struck, self.answers, self.late = "", 0, 0.0
        self.faults: list[str] = []

    def run(self) -> None:
        """Ask until `end`."""
        with httpx.Client(timeout=_ANSWER_SECONDS) as http:
            while not self._ended.wait(_PAUSE):
                for name, url in self._servers.items():
                    self._ask(http, name, url)

    def end(self) -> None:
        """Stop asking."""
        self._ended.set()
        self.join(30.0)

    def _ask(self, http: httpx.Client, name: str, url: str) -> None:
        excused, asked = self.struck == name, int(1000 * time.time())
        self._seed += 1
        try:
            answer = http.post(f"{url}/v1/retrieve", json={"user": f"u{self._seed % 2000}", "k": _ITEMS})
        except httpx.HTTPError as error:
            if not (excused or self.struck == name):
                self.faults.append(f"{name} did not answer while {self.struck or 'nobody'} was struck: {error!r}")
            return
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and not (excused or self.struck == name):
            self.faults.append(f"{name} answered {answer.status_code}: {answer.text[:200]}")
        if answer.status_code != httpx.codes.OK:
            return
        self.answers += 1
        ends = [self._traffic.ends.get(item, 0) for item in answer.json()["items"]]
        self.late = max([self.late, *((asked - end) / 1000 for end in ends if end)])
