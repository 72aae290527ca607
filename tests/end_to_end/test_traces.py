"""`alpamayo-serve --trace`: one trace for each request, with OpenTelemetry's spans of every model and stage."""

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from threading import Thread

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from .conftest import LONG_THOUGHTS, SMALL
from .golden_case import golden_case
from .live_server import live_server, until
from .wire import ask, assert_same, tensors, texts

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
    quickly = "--trace-config=opentelemetry,bsp_schedule_delay=200"  # ms, instead of 5000
    options = ("--trace", "--trace-url", collected.url, "--", "--trace-config=rate=2", quickly)
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


def refused_trace(traced, collected, name, words, inputs, parameters=None, model="alpamayo") -> dict[str, dict]:
    """Of a request that is answered with those words: its spans by name, one of `name` among them."""
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    with pytest.raises(InferenceServerException, match=words):  # always traced, whatever the rate, as its caller's is
        traced.infer(model, tensors(inputs), parameters=parameters or {}, headers=headers)
    until(lambda: {name, "InferRequest"} <= collected.of(trace).keys(), f"the request's spans, {name} among them")
    return collected.of(trace)


def assert_failed_in(spans, model, name, words) -> None:
    """It is the model's part, and alone has the error."""
    assert spans[name]["parentSpanId"] == spans[model]["spanId"]
    assert [it for it, span in spans.items() if span.get("status", {}).get("code") == 2] == [name]
    assert words in spans[name]["status"]["message"]


def test_what_was_broken_off_has_spans_until_then(traced, collected, small_scene):
    """The last one says why."""
    parameters = LONG_THOUGHTS | {"deadline_ms": 1000}
    names, words = STAGES["alpamayo_reasoner"], "deadline_ms is spent"
    spans = refused_trace(traced, collected, "decode_images", words, small_scene, parameters)
    *_, last = (name for name in names if name in spans)
    assert_failed_in(spans, "alpamayo_reasoner", last, words)


def test_a_denoiser_that_is_broken_off(traced, collected):
    words, inputs = "deadline_ms is spent", golden_case("greedy").packed_many(32)
    parameters = {"inference_steps": 100, "deadline_ms": 400}
    spans = refused_trace(traced, collected, "denoise", words, inputs, parameters, "alpamayo_denoiser")
    assert_failed_in(spans, "alpamayo_denoiser", "denoise", words)
    assert start_ns(spans["denoise"]) < end_ns(spans["denoise"])


def test_a_unicycle_that_fails(traced, collected):
    words, inputs = "normalized_action must be finite", unicycle_inputs()
    inputs["normalized_action"] = np.full_like(inputs["normalized_action"], np.nan)
    spans = refused_trace(traced, collected, "unicycle", words, inputs, model="alpamayo_unicycle")
    assert_failed_in(spans, "alpamayo_unicycle", "unicycle", words)


def unicycle_inputs():
    case = golden_case("greedy")
    history = {name: case.inputs[name] for name in ("ego_history_xyz", "ego_history_rot")}
    return {"normalized_action": case["action"], "action_owner": case.packed()["action_owner"], **history}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"top_p": 7}, "request parameter top_p must be"), ({"deadline_ms": 0}, "deadline_ms is spent")],
)
def test_what_fails_before_any_stage_says_why(traced, collected, small_scene, parameters, words):
    spans = refused_trace(traced, collected, "check", words, small_scene, parameters)
    assert_failed_in(spans, "alpamayo_reasoner", "check", words)


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        ("alpamayo_denoiser", golden_case("greedy").packed()),
        ("alpamayo_unicycle", unicycle_inputs()),
        ("alpamayo_cancel", {"request_id": texts(b"0123456789abcdef")}),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_every_model_says_why(traced, collected, model, inputs):
    words = "request parameter top_p must be"
    spans = refused_trace(traced, collected, "check", words, inputs, {"top_p": 7}, model)
    assert_failed_in(spans, model, "check", words)


def test_the_last_request_s_spans_arrive_though_an_idle_connection_ends_the_server(repository, small_scene, tmp_path):
    """It is killed then, and cannot send what it still has."""
    collector = Collector()
    options = ("--trace", "--trace-url", collector.url)
    with ExitStack() as after:
        after.callback(collector.stop)
        with live_server(repository, tmp_path, *options) as server:
            idle = after.enter_context(closing(HTTPConnection(server.http)))
            idle.request("GET", "/v2/health/ready")
            assert idle.getresponse().read() == b""
            with grpcclient.InferenceServerClient(server.grpc) as triton:
                ask(triton, small_scene, SMALL)
        assert "idle HTTP connections are open" in server.log.read_text()
        assert collector.has(1)
