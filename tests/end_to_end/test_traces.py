"""`alpamayo-serve --trace`: one trace for each request, with OpenTelemetry's spans of every model and stage."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from threading import Thread

import tritonclient.grpc as grpcclient

from .conftest import SMALL
from .live_server import live_server, until
from .wire import ask, assert_same

STAGES = {
    "alpamayo_reasoner": ("decode_images", "preprocess", "prefill", "decode"),
    "alpamayo_denoiser": ("denoise",),
    "alpamayo_unicycle": ("unicycle",),
}
NAMES = ("InferRequest", "alpamayo", *STAGES, *(stage for stages in STAGES.values() for stage in stages))
CLOCKS_NS = 20_000_000  # by how much a model's may differ from Triton's


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, in JSON, as collectors do; keeps the spans."""

    def __init__(self, port: int = 0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.spans, self.services = [], set()
        self.url = f"http://127.0.0.1:{self.server_port}/v1/traces"

    def has(self, requests: int) -> bool:
        """All spans of so many."""
        found = Counter(span["name"] for span in list(self.spans))
        return all(found[name] == requests for name in NAMES)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/json")
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for resource in message["resourceSpans"]:
            attributes = {it["key"]: it["value"] for it in resource["resource"]["attributes"]}
            self.server.services.add(attributes["service.name"]["stringValue"])
            self.server.spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nothing: the test's output is its own."""


@contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    with Collector(port) as it:
        Thread(target=it.serve_forever, daemon=True).start()
        yield it
        it.shutdown()


def start_ns(span) -> int:
    return int(span["startTimeUnixNano"])


def end_ns(span) -> int:
    return int(span["endTimeUnixNano"])


def test_a_request_is_a_trace_with_a_span_for_every_model_and_stage(repository, small_scene, tmp_path):
    """Every second one is, here; and while the collector is away, none, which no caller notices."""
    with collector() as collected:
        options = ("--trace", "--trace-url", collected.url, "--", "--trace-config=rate=2")
        with (
            live_server(repository, tmp_path, *options) as server,
            grpcclient.InferenceServerClient(server.grpc) as triton,
        ):
            answer, *others = [ask(triton, small_scene, SMALL) for _ in range(4)]
            until(lambda: collected.has(2), "the spans of two requests")
            collected.shutdown()
            collected.server_close()
            others += [ask(triton, small_scene, SMALL) for _ in range(4)]
            with collector(collected.server_port) as back:
                others += [ask(triton, small_scene, SMALL) for _ in range(2)]
                until(lambda: {"decode", "denoise", "unicycle"} <= {it["name"] for it in back.spans}, "stages again")
    for other in others:
        assert_same(other, answer)
    assert collected.services == {"alpamayo"}
    traces = {span["traceId"] for span in collected.spans}
    assert len(traces) == 2
    for trace in traces:
        assert_complete({span["name"]: span for span in collected.spans if span["traceId"] == trace})


def assert_complete(trace) -> None:
    """Spans by name: of a request, its models under it and their stages under them, each when it has to be."""
    assert "parentSpanId" not in trace["InferRequest"]
    assert trace["alpamayo"]["parentSpanId"] == trace["InferRequest"]["spanId"]
    starts = [start_ns(trace[name]) for name in ("InferRequest", "alpamayo", *STAGES)]
    assert starts == sorted(starts)
    for model, names in STAGES.items():
        assert trace[model]["parentSpanId"] == trace["alpamayo"]["spanId"]
        stages = [trace[name] for name in names]
        for stage in stages:
            assert stage["parentSpanId"] == trace[model]["spanId"]
            assert start_ns(stage) < end_ns(stage)
        assert all(end_ns(stage) == start_ns(following) for stage, following in pairwise(stages))
        assert start_ns(trace[model]) - CLOCKS_NS < start_ns(stages[0])
        assert end_ns(stages[-1]) < end_ns(trace[model]) + CLOCKS_NS
