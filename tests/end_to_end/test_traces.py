"""`alpamayo-serve --trace`: one trace for each request, with a span for every model, as OpenTelemetry has them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import tritonclient.grpc as grpcclient

from .conftest import SMALL
from .live_server import live_server, until
from .wire import ask

STAGES = ["alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle"]


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, in JSON, as collectors do; keeps the spans."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans, self.services = [], set()
        self.url = f"http://127.0.0.1:{self.server_port}/v1/traces"


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
def collector() -> Iterator[Collector]:
    with Collector() as it:
        Thread(target=it.serve_forever, daemon=True).start()
        yield it
        it.shutdown()


def test_a_request_is_a_trace_with_a_span_for_every_model(repository, small_scene, tmp_path):
    with collector() as collected, live_server(repository, tmp_path, "--trace", "--trace-url", collected.url) as server:
        with grpcclient.InferenceServerClient(server.grpc) as triton:
            for _ in range(2):
                ask(triton, small_scene, SMALL)
        names = ("InferRequest", STAGES[-1])  # what ends last
        until(lambda: sum(it["name"] in names for it in collected.spans) == 4, "the spans of two requests")
    traces = {span["traceId"] for span in collected.spans}
    assert len(traces) == 2
    assert collected.services == {"alpamayo"}
    for trace in traces:
        spans = [span for span in collected.spans if span["traceId"] == trace]
        named = {span["name"]: span for span in spans}
        assert "parentSpanId" not in named["InferRequest"]
        assert named["alpamayo"]["parentSpanId"] == named["InferRequest"]["spanId"]
        starts = [int(named[name]["startTimeUnixNano"]) for name in ("InferRequest", "alpamayo", *STAGES)]
        assert starts == sorted(starts)
        for stage in STAGES:
            assert named[stage]["parentSpanId"] == named["alpamayo"]["spanId"]
            assert int(named[stage]["startTimeUnixNano"]) < int(named[stage]["endTimeUnixNano"])
