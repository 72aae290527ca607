"""What a stage adds to Triton's `/metrics` and traces. A copy goes beside every `model.py`.

Every metric is there from the start, at zero: what has not happened yet can be told from what is not counted.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import triton_python_backend_utils as pb_utils
from contract import SUBJECTS, Cancelled, InvalidRequest
from server_stopping import ServerStopping
from stage_spans import TRACE_URL, SpanSender

# From the unicycle's fraction of a millisecond to a request for many long thoughts without a GPU.
BUCKETS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0, 30.0]


class Metrics:
    """One family, labelled by the model and one thing more, for every value that this can have."""

    def __init__(self, kind: Any, name: str, description: str, model: str, label: str, values: Sequence[str]) -> None:
        self._family = pb_utils.MetricFamily(name=name, description=description, kind=kind)  # a metric goes with it
        buckets = {"buckets": BUCKETS_S} if kind == pb_utils.MetricFamily.HISTOGRAM else {}
        self._metrics = {
            value: self._family.Metric(labels={"model": model, label: value}, **buckets) for value in values
        }

    def __getitem__(self, value: str) -> Any:
        return self._metrics[value]


def counters(name: str, description: str, model: str, label: str, values: Sequence[str]) -> Metrics:
    """They only grow: `counters(...)[value].increment(n)`."""
    return Metrics(pb_utils.MetricFamily.COUNTER, name, description, model, label, values)


class StageMetrics:
    """What every stage counts: requests by their outcome, refusals by what was refused, and its parts' times."""

    def __init__(self, model: str, stages: Sequence[str]) -> None:
        self._requests = counters(
            "alpamayo_requests_total",
            "Requests that reached a model, by outcome",
            model,
            "outcome",
            ("answered", "refused", "cancelled", "stopping", "failed"),
        )
        self._in_progress_family = pb_utils.MetricFamily(  # a metric goes with its family
            name="alpamayo_requests_in_progress",
            description="Requests that a model works on",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._in_progress = self._in_progress_family.Metric(labels={"model": model})
        self._refused = counters(
            "alpamayo_refused_total",
            "Refused requests, by the input or parameter that was wrong",
            model,
            "reason",
            (*SUBJECTS, "unknown_parameter", "other"),
        )
        self._seconds = Metrics(
            pb_utils.MetricFamily.HISTOGRAM,
            "alpamayo_stage_seconds",
            "Seconds that a part of a request took, in requests that were answered",
            model,
            "stage",
            stages,
        )
        url = os.environ.get(TRACE_URL)
        self._spans = SpanSender(url) if url else None

    @contextmanager
    def working_on(self, requests: int) -> Iterator[None]:
        """They are in progress for the block. The launcher looks, before it ends the server."""
        self._in_progress.increment(requests)  # there may be several instances
        try:
            yield
        finally:
            self._in_progress.increment(-requests)

    def observe(self, stage: str, seconds: float) -> None:
        """Of a time that is not this model's alone."""
        self._seconds[stage].observe(seconds)

    @contextmanager
    def measured(self, request: Any, seconds: Callable[[], Mapping[str, float]]) -> Iterator[None]:
        """The block is stages, one after the other: spans of the request's trace, if it has one. What they took is also
        counted, unless the block fails.

        `seconds`: tells it then, by stage.
        """
        try:
            yield
        except Exception as error:
            self._trace(request, seconds(), str(error))
            raise
        took = seconds()
        self._trace(request, took)
        for stage, it in took.items():
            self.observe(stage, it)

    def checked(self, request: Any) -> AbstractContextManager[None]:
        """The block comes before the stages: a span of the request's trace only if it fails."""
        return self.measured(request, dict)

    @contextmanager
    def timed(self, request: Any, stage: str) -> Iterator[None]:
        """The block is one stage."""
        start = time.monotonic()
        with self.measured(request, lambda: {stage: time.monotonic() - start}):
            yield

    def _trace(self, request: Any, seconds: Mapping[str, float], error: str | None = None) -> None:
        end_ns = time.time_ns()
        if self._spans and (context := request.trace().get_context()):
            self._spans.send(context, seconds, end_ns, error)

    def answered(self) -> None:
        self._requests["answered"].increment(1)

    def failed(self, error: Exception) -> None:
        """For whatever reason there is no answer."""
        if isinstance(error, InvalidRequest):
            self._requests["refused"].increment(1)
            self._refused[error.subject].increment(1)
        else:
            outcomes = {Cancelled: "cancelled", ServerStopping: "stopping"}
            self._requests[outcomes.get(type(error), "failed")].increment(1)
