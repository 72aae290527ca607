"""Request parameters: every wrong one is refused with its name, what came and what was wanted."""

import contextlib
import json
import math
import re
import time
from dataclasses import fields

import pytest
from contract import (
    MAX_SEED,
    NO_DEADLINE,
    Cancelled,
    InvalidRequest,
    Parameters,
    deadline_after,
    parse_parameters,
    stop_check,
)

INTEGERS = {
    "num_traj_samples": (1, 10**9),
    "num_traj_sets": (1, 10**9),
    "top_k": (0, 10**9),
    "max_generation_length": (1, 10**9),
    "inference_steps": (1, 100),
    "seed": (0, MAX_SEED),
}
NUMBERS = {"temperature": (0, 100), "top_p": (0, 1), "deadline_ms": (0, 1e12)}


def refusal(text: str) -> str:
    with pytest.raises(InvalidRequest) as refused:
        parse_parameters(text)
    return str(refused.value)


def test_defaults_are_the_contract_s():
    for nothing in ("", "{}"):
        assert parse_parameters(nothing) == Parameters(
            num_traj_samples=None,  # 1, or as many as there are given thoughts
            num_traj_sets=1,
            temperature=0.6,
            top_p=0.98,
            top_k=0,
            max_generation_length=None,  # 256, or the repository's limit
            inference_steps=10,
            seed=None,
            deadline_ms=None,
        )


def test_the_tables_here_are_complete():
    assert {field.name for field in fields(Parameters)} == INTEGERS.keys() | NUMBERS.keys()


@pytest.mark.parametrize("parameters", [{"x" * 1_000_000: 1}, {"seed": "x" * 1_000_000}, {"\0" * 1_000_000: "\0"}])
def test_a_refusal_repeats_no_long_text(parameters):
    message = refusal(json.dumps(parameters))
    assert len(message) < 400
    assert re.search(r"\(\d{7} characters\)", message)


@pytest.mark.parametrize("name", [*INTEGERS, *NUMBERS])
def test_limits_belong_to_the_range(name):
    for value in (INTEGERS | NUMBERS)[name]:
        assert getattr(parse_parameters(json.dumps({name: value})), name) == value


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [True, False, "3", 1.0, 2.5, [1], None, {}, math.nan, math.inf])
def test_integers_must_be_integers(name, value):
    message = refusal(json.dumps({name: value}))
    assert f"{name} must be an integer" in message
    assert f"{value!r} ({type(value).__name__})" in message


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, False, "0.5", [1], None, {}])
def test_numbers_must_be_numbers(name, value):
    message = refusal(json.dumps({name: value}))
    assert f"{name} must be a number" in message
    assert f"{value!r} ({type(value).__name__})" in message


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_must_be_finite(name, value):
    message = refusal(json.dumps({name: value}))
    assert name in message
    assert f"got {value}" in message


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("num_traj_samples", 0, "at least 1"),
        ("num_traj_samples", -(10**9), "at least 1"),
        ("num_traj_sets", 0, "at least 1"),
        ("temperature", -0.1, "at least 0"),
        ("top_p", -1e-9, "0 .. 1"),
        ("top_p", 1.01, "0 .. 1"),
        ("top_k", -1, "at least 0"),
        ("max_generation_length", 0, "at least 1"),
        ("inference_steps", 0, "1 .. 100"),
        ("inference_steps", 101, "1 .. 100"),
        ("seed", -1, "0 .. 9007199254740991"),
        ("seed", MAX_SEED + 1, "0 .. 9007199254740991"),
        ("seed", 2**64, "0 .. 9007199254740991"),
        ("deadline_ms", -1, "at least 0"),
    ],
)
def test_out_of_range(name, value, wanted):
    message = refusal(json.dumps({name: value}))
    assert f"{name} must be" in message
    assert wanted in message
    assert f"got {value!r}" in message


@pytest.mark.parametrize("name", ["num_traj_samples", "num_traj_sets", "top_k", "max_generation_length", "deadline_ms"])
@pytest.mark.parametrize("value", [2**63 - 1, 2**64 - 1, 10**30])
def test_integers_of_any_size_are_no_server_error(name, value):
    """Where there is no upper bound here they may be accepted, for the repository's limits to refuse."""
    with contextlib.suppress(InvalidRequest):
        assert getattr(parse_parameters(json.dumps({name: value})), name) == value


@pytest.mark.parametrize("name", ["num_samples", "Temperature", "", "sequence_id"])
def test_unknown_names_are_refused_with_the_known_ones(name):
    message = refusal(json.dumps({"temperature": 0.5, name: 1}))
    assert repr(name) in message
    assert "num_traj_samples" in message
    assert "deadline_ms" in message


def test_deadlines():
    def deadline(milliseconds):
        return deadline_after(milliseconds, time.monotonic_ns())

    never = deadline(None)
    assert never == NO_DEADLINE
    stop_check(lambda: False, never)()
    stop_check(lambda: False, deadline(1e300))()
    stop_check(lambda: False, deadline(1e5))()
    with pytest.raises(Cancelled, match="deadline_ms"):
        stop_check(lambda: False, deadline(0))()


def test_cancelling():
    gone = []
    check = stop_check(lambda: bool(gone), NO_DEADLINE)
    check()
    gone.append(1)
    with pytest.raises(Cancelled, match="cancelled"):
        check()
