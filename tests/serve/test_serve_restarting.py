"""A server that has served and dies is started again: at once the first time, not too often, and not too soon."""

import os
import signal

import pytest
from alpamayo_serve.restarts import Restarts
from launched import BLOCKS_LOADING, BLOCKS_REQUESTS, MODEL, NOTHING, infer
from tritonclient.utils import InferenceServerException

FAILS_TO_LOAD = "\ndef initialize():\n    raise ValueError('weights are missing')\n"
PROGRAMS = {"stub": "triton_python_backend_stub", "server": "tritonserver"}


def kill(launched, program: str, signal_number: int = signal.SIGKILL):
    os.kill(launched.process_id(PROGRAMS[program]), signal_number)


def answer(launched) -> list:
    answers = []
    infer(launched, answers).join()
    return answers[0]


@pytest.mark.parametrize(
    ("program", "signal_number", "said"),
    [
        ("stub", signal.SIGKILL, r"was killed by signal 9 (Killed): ending tritonserver, which cannot start it again"),
        ("server", signal.SIGABRT, r"alpamayo-serve: tritonserver was killed by signal 6 (Aborted)"),
    ],
)
def test_killed_in_a_request(launch, program, signal_number, said):
    launched = launch(model=BLOCKS_REQUESTS)
    answers = []
    thread = infer(launched, answers)
    launched.logged("executing")
    kill(launched, program, signal_number)
    thread.join()
    assert isinstance(answers[0], InferenceServerException)
    # The connection ended. INTERNAL would be Triton's own answer, a second or two later.
    assert answers[0].status() == "StatusCode.UNAVAILABLE"
    launched.logged(said)
    assert ("the process of echo (" in launched.log) == (program == "stub")
    launched.logged("starting tritonserver again in 0 s; restarts: at most 5 in 10 minutes")
    (launched.folder / "repository/echo/1/release").touch()
    launched.ports(servers=2)  # the same ones
    assert answer(launched) == [7.0]
    assert sorted(launched.processes().values()) == sorted(PROGRAMS.values())
    assert (
        len({name[: len(f"alpamayo_serve_{launched.process.pid}_12345678_")] for name in launched.shared_memory()}) == 1
    )
    assert launched.stop() == 0, launched.log
    assert launched.left_behind() == NOTHING


def test_a_stub_that_dies_while_nobody_asks_is_noticed(launch):
    launched = launch()
    launched.ports()
    kill(launched, "stub")
    launched.ports(servers=2)
    assert answer(launched) == [7.0]
    assert launched.stop() == 0, launched.log


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_restart_if_so_told(launch, program):
    launched = launch("--max-restarts=0")
    launched.ports()
    kill(launched, program)
    assert launched.wait() == 1
    assert "alpamayo-serve: giving up on tritonserver: restarts: at most 0 in 10 minutes" in launched.log
    assert len(launched.stdout.splitlines()) == 1
    assert launched.left_behind() == NOTHING


def change_model(launched, model: str):
    (launched.folder / "repository/echo/1/model.py").write_text(MODEL + model)


def test_a_restart_that_fails_counts(launch):
    launched = launch("--max-restarts=2")
    launched.ports()
    change_model(launched, FAILS_TO_LOAD)
    kill(launched, "server")
    assert launched.wait() == 1
    assert launched.log.count("ValueError: weights are missing") >= 2
    started = [line for line in launched.log.splitlines() if "starting tritonserver again" in line]
    assert [line.split(" again in ")[1] for line in started] == [
        f"{n} s; restarts: at most 2 in 10 minutes" for n in (0, 1)
    ]
    assert launched.log.endswith("alpamayo-serve: giving up on tritonserver: restarts: at most 2 in 10 minutes\n")
    assert launched.left_behind() == NOTHING


def test_stop_while_it_waits_to_start_again(launch):
    launched = launch()
    launched.ports()
    change_model(launched, FAILS_TO_LOAD)
    kill(launched, "server")
    launched.logged("starting tritonserver again in 2 s")
    assert launched.stop() == 128 + signal.SIGTERM
    assert "again in 4 s" not in launched.log
    assert launched.left_behind() == NOTHING


def test_stop_while_it_loads_again(launch):
    launched = launch()
    launched.ports()
    change_model(launched, BLOCKS_LOADING)
    kill(launched, "stub")
    launched.logged("initialize() began")
    assert launched.stop() == 128 + signal.SIGTERM
    assert launched.left_behind() == NOTHING


def test_how_often_and_how_soon():
    restarts = Restarts(at_most=9)
    assert [restarts.next_wait_s(now) for now in range(10)] == [0, 1, 2, 4, 8, 16, 32, 60, 60, None]
    assert restarts.next_wait_s(600.5) == 60  # the first is forgotten, and one may follow
    assert restarts.next_wait_s(600.6) is None
    assert restarts.next_wait_s(2000) == 0
    assert Restarts(at_most=0).next_wait_s(0) is None


@pytest.mark.parametrize("count", ["-1", "1.5", "many"])
def test_a_wrong_count(launch, count):
    launched = launch(f"--max-restarts={count}")
    assert launched.wait() == 2
    assert f"argument --max-restarts: '{count}' is no count: wanted 0 or more" in launched.log
