"""Shadows: arms of an experiment that answer some requests unseen, so that their answers and times can be compared."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import Lock

import msgspec

from hsnn.monitoring.process.log_format import current_ids
from hsnn.serving.errors import NotReadyError, RequestError
from hsnn.serving.experiment import Arm, Experiment
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.schema import Answer, Request

_log = logging.getLogger(__name__)

# Requests that wait for a shadow: further ones are passed over, so that shadows take only the time that is left.
_MOST_WAITING = 64

Retrieve = Callable[[Arm, Request], Answer]
"""Answers a request as an arm does."""

Record = Callable[[Arm, Request, Answer], object]
"""Writes down what a shadow answered."""


class Shadows:
    """Lets arms answer requests in a thread of their own, after the answer that the caller got.

    Parameters
    ----------
    experiment
        Says which arms answer a request unseen.
    retrieve, record
        How an arm answers, and what is done with that.
    """

    def __init__(self, experiment: Experiment, retrieve: Retrieve, record: Record, metrics: ServingMetrics) -> None:
        self._experiment, self._retrieve, self._record, self._metrics = experiment, retrieve, record, metrics
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="shadows")
        self._waiting, self._lock = 0, Lock()

    def follow(self, requests: Sequence[Request], answers: Sequence[Answer]) -> None:
        """Let shadows answer some of the requests that were answered, later; thread-safe, and never waits."""
        for request, answer in zip(requests, answers, strict=True):
            call = f"{current_ids().get('request')}/{request.user}"
            for arm in self._experiment.shadows_of(request, call):
                self._submit(arm, request, answer)

    def close(self) -> None:
        """Drop what waits, and let the thread end after what runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, arm: Arm, request: Request, answer: Answer) -> None:
        with self._lock:
            full = self._waiting >= _MOST_WAITING
            self._waiting += not full
        if full:
            self._metrics.shadows_passed_over.labels(arm.name, "waiting").inc()
            return
        self._executor.submit(
            copy_context().run, partial(self._compare, arm, request, answer)
        )  # with the ids of log lines

    def _compare(self, arm: Arm, request: Request, answer: Answer) -> None:
        """Answer a request unseen and count what of it is in the answer that was given."""
        try:
            bare = msgspec.structs.replace(request, fields=[], echo=False, explain=False, why_not=[])
            began = time.perf_counter()
            unseen = self._retrieve(arm, bare)
            self._metrics.arm_seconds.labels(arm.name, "shadow").observe(time.perf_counter() - began)
            shared = len(set(unseen.items) & set(answer.items))
            self._metrics.shadow_items.labels(arm.name, "shared").inc(shared)
            self._metrics.shadow_items.labels(arm.name, "other").inc(len(unseen.items) - shared)
            self._record(arm, request, unseen)
        except NotReadyError:  # the index of the arm; who follows it says so once
            self._metrics.shadows_passed_over.labels(arm.name, "not_ready").inc()
        except RequestError as error:
            _log.info("the shadow %s cannot answer a request that was answered: %s", arm.name, error)
            self._metrics.shadows_passed_over.labels(arm.name, "refused").inc()
        except Exception:
            _log.exception("the shadow %s failed; the answer that was given is not affected", arm.name)
            self._metrics.shadows_passed_over.labels(arm.name, "failed").inc()
        finally:
            with self._lock:
                self._waiting -= 1
