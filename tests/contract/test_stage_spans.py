"""The spans that a model sends itself, and that it waits for nobody. Real ones: `end_to_end/test_traces.py`."""

import socket

import stage_spans as stage_spans_module
from stage_spans import MAX_WAITING, SpanSender, stage_spans

CONTEXT = '{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'
PATIENCE_S = 60


def test_stages_follow_one_another_until_the_end():
    first, second = stage_spans(CONTEXT, {"prefill": 0.25, "decode": 0.5}, 2_000_000_000)
    assert (first["name"], second["name"]) == ("prefill", "decode")
    assert (first["startTimeUnixNano"], first["endTimeUnixNano"]) == ("1250000000", "1500000000")
    assert (second["startTimeUnixNano"], second["endTimeUnixNano"]) == ("1500000000", "2000000000")
    assert {first["traceId"], second["traceId"]} == {"0af7651916cd43dd8448eb211c80319c"}
    assert {first["parentSpanId"], second["parentSpanId"]} == {"b7ad6b7169203331"}
    assert first["spanId"] != second["spanId"]
    assert len(bytes.fromhex(first["spanId"])) == 8


def test_an_error_is_the_last_one_s():
    first, second = stage_spans(CONTEXT, {"prefill": 0.25, "decode": 0.5}, 2_000_000_000, "cancelled")
    assert "status" not in first
    assert second["status"] == {"code": 2, "message": "cancelled"}  # STATUS_CODE_ERROR


def test_before_any_stage_an_error_has_a_span_of_its_own():
    (span,) = stage_spans(CONTEXT, {}, 2_000_000_000, "top_p: got 7")
    assert span["name"] == "check"
    assert span["status"] == {"code": 2, "message": "top_p: got 7"}
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == ("2000000000", "2000000000")
    assert stage_spans(CONTEXT, {}, 2_000_000_000) == []


def test_nobody_waits_for_a_collector_that_does_not_answer():
    """What is too much for it is lost, and so is what nobody understands; what comes later is sent again."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_S)
        sender = SpanSender(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces")
        sender.send(*of("first"))
        first, _ = silent.accept()  # so this one does not wait any more
        for _ in range(2 * MAX_WAITING):
            sender.send(*of("more"))
        assert b'"first"' in received(first)
        for _ in range(MAX_WAITING):
            assert b'"more"' in received(silent.accept()[0])
        sender.send(CONTEXT, {}, 1)
        sender.send("no JSON", {"decode": 0.1}, 1)
        sender.send('{"traceparent": "no W3C"}', {"decode": 0.1}, 1)
        sender.send(*of("last"))
        assert b'"last"' in received(silent.accept()[0])


def test_a_collector_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(stage_spans_module, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_S)
        sender = SpanSender(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces")
        sender.send(*of("first"))
        sender.send(*of("second"))
        with silent.accept()[0]:  # it takes the first one, and never answers
            assert b'"second"' in received(silent.accept()[0])


def of(stage):
    return CONTEXT, {stage: 0.1}, 1_000_000_000


def received(connection) -> bytes:
    """Hangs up, once everything has come that was sent."""
    with connection:
        message = b""
        while not message.endswith(b"}]}]}]}"):
            message += connection.recv(4096)
    return message
