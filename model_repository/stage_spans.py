"""Spans of a request's stages, for the collector that gets Triton's own. A copy goes beside every `model.py`.

Written out here, as OTLP over HTTP in JSON: the models' Python needs no package for it.
"""

import json
import queue
import secrets
import threading
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

TRACE_URL = "ALPAMAYO_TRACE_URL"
"""An environment variable: where the launcher lets Triton send its spans; not there if it does not."""
SERVICE = "alpamayo"

CHECK = "check"
"""The span of what failed before its first stage."""

MAX_WAITING = 100  # requests
TIMEOUT_S = 5
INTERNAL = 1  # OTLP's SPAN_KIND_INTERNAL: no request of its own
ERROR = 2  # OTLP's STATUS_CODE_ERROR

Span = dict[str, Any]


def stage_spans(context: str, seconds: Mapping[str, float], end_ns: int, error: str | None = None) -> list[Span]:
    """Spans, as OTLP has them, of stages that follow one another until `end_ns`.

    Args:
        context: of the span that they are parts of, as Triton gives it: {"traceparent": W3C's}.
        seconds: by stage, in their order.
        end_ns: since 1970.
        error: what ended the last one before it was done; without any stage, CHECK, which has no length.
    """
    _, trace, parent, _ = json.loads(context)["traceparent"].split("-")
    if error is not None and not seconds:
        seconds = {CHECK: 0.0}
    lengths_ns = {stage: round(1e9 * it) for stage, it in seconds.items()}
    spans, start_ns = [], end_ns - sum(lengths_ns.values())
    for stage, length_ns in lengths_ns.items():
        spans.append(
            {
                "traceId": trace,
                "spanId": secrets.token_hex(8),
                "parentSpanId": parent,
                "name": stage,
                "kind": INTERNAL,
                "startTimeUnixNano": str(start_ns),
                "endTimeUnixNano": str(start_ns + length_ns),
            }
        )
        start_ns += length_ns
    if error is not None:
        spans[-1]["status"] = {"code": ERROR, "message": error}
    return spans


class SpanSender:
    """Sends from a thread of its own: no request waits for a collector, or fails with it. Triton logs that it is down.

    What it does not take, and what MAX_WAITING requests are waiting before, is lost.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: queue.Queue[Callable[[], list[Span]]] = queue.Queue(MAX_WAITING)
        threading.Thread(target=self._run, name="spans", daemon=True).start()

    def send(self, context: str, seconds: Mapping[str, float], end_ns: int, error: str | None = None) -> None:
        """Of `stage_spans`: also what it does not understand is no matter of the request's."""
        with suppress(queue.Full):
            self._waiting.put_nowait(lambda: stage_spans(context, seconds, end_ns, error))

    def _run(self) -> None:
        while True:
            spans = self._waiting.get()
            with suppress(Exception):  # whatever it is, the next ones may arrive
                if found := spans():  # a check that went well has none
                    _post(self._url, found)


def _post(url: str, spans: list[Span]) -> None:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": SERVICE}}]}
    body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):
        pass
