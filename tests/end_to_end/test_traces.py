"""`alpamayo-serve --trace`: one trace for each request, with OpenTelemetry's spans of every model and stage."""

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from threading import Thread

import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from .conftest import LONG_THOUGHTS, SMALL
from .live_server import live_server, until
from .wire import ask, assert_same, tensors

STAGES = {
    "alpamayo_reasoner": ("decode_images", "preprocess", "prefill", "decode"),
    "alpamayo_denoiser": ("denoise",),
    "alpamayo_unicycle": ("unicycle",),
}
NAMES = ("InferRequest", "alpamayo", *STAGES, *(stage for stages in STAGES.values() for stage in stages))
CLOCKS_NS = 20_000_000  # by how much a model's may differ from Triton's


class Collector:
    """Takes OTLP over HTTP, in JSON, as collectors do; keeps the spans."""

    def __init__(self):
        self.spans, self.services = [], set()
        self._port = 0  # any, at first
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1/traces"

    def start(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", self._port), _Handler)
        self._http.collector = self
        self._port = self._http.server_port
        Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def of(self, trace: str) -> dict[str, dict]:
        """A trace's spans, by name."""
        return {span["name"]: span for span in list(self.spans) if span["traceId"] == trace}

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
            self.server.collector.services.add(attributes["service.name"]["stringValue"])
            self.server.collector.spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Nothing: the test's output is its own."""


@pytest.fixture(scope="module")
def collected() -> Iterator[Collector]:
    it = Collector()
    yield it
    it.stop()


@pytest.fixture(scope="module")
def traced(repository, collected, tmp_path_factory) -> Iterator[grpcclient.InferenceServerClient]:
    """Of a server that traces every second request. It has a proxy that takes nothing, which is none of its collector's
    business.
    """
    options = ("--trace", "--trace-url", collected.url, "--", "--trace-config=rate=2")
    proxy = dict.fromkeys(("http_proxy", "all_proxy"), "http://127.0.0.1:9")
    with (
        live_server(repository, tmp_path_factory.mktemp("traced"), *options, environment=proxy) as server,
        grpcclient.InferenceServerClient(server.grpc) as triton,
    ):
        yield triton


def start_ns(span) -> int:
    return int(span["startTimeUnixNano"])


def end_ns(span) -> int:
    return int(span["endTimeUnixNano"])


def test_a_request_is_a_trace_with_a_span_for_every_model_and_stage(traced, collected, small_scene):
    """While the collector is away there is none, which no caller notices."""
    answer, *others = [ask(traced, small_scene, SMALL) for _ in range(4)]
    until(lambda: collected.has(2), "the spans of two requests")
    collected.stop()
    others += [ask(traced, small_scene, SMALL) for _ in range(4)]
    spans = list(collected.spans)
    collected.spans.clear()
    collected.start()
    others += [ask(traced, small_scene, SMALL) for _ in range(2)]
    until(lambda: {"decode", "denoise", "unicycle"} <= {it["name"] for it in list(collected.spans)}, "stages again")
    for other in others:
        assert_same(other, answer)
    assert collected.services == {"alpamayo"}
    traces = {span["traceId"] for span in spans}
    assert len(traces) == 2
    for trace in traces:
        assert_complete({span["name"]: span for span in spans if span["traceId"] == trace})


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


def test_what_was_broken_off_has_spans_until_then(traced, collected, small_scene):
    """The last one says why."""
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    for _ in range(2):  # one of them is traced
        with pytest.raises(InferenceServerException, match="deadline"):
            traced.infer(
                "alpamayo", tensors(small_scene), parameters=LONG_THOUGHTS | {"deadline_ms": 1000}, headers=headers
            )
    names = STAGES["alpamayo_reasoner"]
    until(lambda: set(names) & set(collected.of(trace)), "the reasoner's stages")
    *done, last = [span for name, span in collected.of(trace).items() if name in names]
    assert last["status"]["code"] == 2
    assert "deadline" in last["status"]["message"]
    assert not [span for span in done if "status" in span]
