"""What breaks while requests are under way, with the real models: callers are told, and served again."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
import tritonclient.grpc as grpcclient
from alpamayo_serve.children import Process
from tritonclient.utils import InferenceServerException

from .conftest import SMALL
from .golden_case import golden_case
from .live_server import LOG_HEADER, LOG_SETTINGS, LiveServer, live_server, until
from .wire import ask, assert_same, tensors

PATIENCE_S = 60
SCENE = golden_case("greedy").inputs
SECONDS = {"num_traj_samples": 6, "max_generation_length": 64, "temperature": 100, "inference_steps": 20, "seed": 1}
STAGES = ("alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle")


@pytest.fixture(scope="module")
def own_repository(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By its path, the processes that serve it are told from others."""
    return shutil.copytree(repository, tmp_path_factory.mktemp("faults") / "repository")


@pytest.fixture(scope="module")
def fragile(own_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(own_repository, tmp_path_factory.mktemp("server"), "--exit-timeout-s=60", *LOG_SETTINGS) as server:
        yield server


def process_of(model: str, repository: Path) -> int:
    program = str(repository / model / "1" / "model.py").encode()
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if program in arguments.read_bytes().split(b"\0"):
                return int(arguments.parent.name)
        except OSError:  # gone meanwhile
            continue
    raise AssertionError(f"no process runs {program}")


def send(triton, inputs, parameters) -> Queue:
    """Where the result, or the error, will be."""
    answers = Queue()

    def put(result, error):
        answers.put(error or {output.name: result.as_numpy(output.name) for output in result.get_response().outputs})

    triton.async_infer("alpamayo", tensors(inputs), put, parameters=parameters)
    return answers


def ready(server: LiveServer, model: str) -> bool:
    """Asked over a new connection: the old one was to another server."""
    try:
        with grpcclient.InferenceServerClient(server.grpc) as triton:
            return triton.is_model_ready(model)
    except InferenceServerException:
        return False


@pytest.mark.parametrize("model", STAGES)
def test_a_stage_is_killed_in_a_request(fragile, own_repository, small_scene, first_answer, model):
    with grpcclient.InferenceServerClient(fragile.grpc) as triton:
        assert_same(ask(triton, small_scene, SMALL), first_answer)
        triton.update_log_settings({"log_verbose_level": 1}, headers=LOG_HEADER)
        stage, before = process_of(model, own_repository), fragile.runs(model)
        assert ready(fragile, model)
        os.kill(stage, signal.SIGSTOP)  # so that it is in the middle of the request when it is killed
        answers = send(triton, small_scene, SMALL)
        until(lambda: fragile.runs(model) > before, f"the request to reach {model}")
        os.kill(stage, signal.SIGKILL)
        error = answers.get(timeout=PATIENCE_S)
    # The launcher ended the connection. INTERNAL would be what Triton says by itself, a second or two later.
    assert error.status() == "StatusCode.UNAVAILABLE", error
    assert not ready(fragile, model)
    said = f"the process of {model} ({stage}) was killed by signal 9 (Killed): ending tritonserver"
    until(lambda: said in fragile.log.read_text(), "the launcher to say so")
    until(lambda: ready(fragile, "alpamayo"), "the server to be ready again")
    with grpcclient.InferenceServerClient(fragile.grpc) as triton:
        assert_same(ask(triton, small_scene, SMALL), first_answer)


def test_sigterm_under_load(fragile, own_repository):
    """All that are under way are answered, those in the queue too. Exit code 0: see live_server().

    The last test of this server.
    """
    with grpcclient.InferenceServerClient(fragile.grpc) as triton:
        wanted = ask(triton, SCENE, SECONDS)
        launcher = Process.read(Process.read(process_of("alpamayo_reasoner", own_repository)).parent).parent
        answers = [send(triton, SCENE, SECONDS) for _ in range(3)]
        until(lambda: fragile.waiting("alpamayo_reasoner") == 2, "two requests to wait for the first")
        os.kill(launcher, signal.SIGTERM)
        for queue in answers:
            answer = queue.get(timeout=PATIENCE_S)
            assert not isinstance(answer, InferenceServerException), answer
            assert_same(answer, wanted)
    until(lambda: Process.read(launcher).ended, "the launcher to exit")
    with pytest.raises(InferenceServerException), grpcclient.InferenceServerClient(fragile.grpc) as triton:
        ask(triton, SCENE, SECONDS)


def test_sigterm_while_others_ask_on_and_on(own_repository, small_scene, first_answer, tmp_path):
    """Every answer is right until they are turned away, and none is cut off in between."""
    refusals, wrong, over = [], [], threading.Event()

    def ask_on(server):
        with grpcclient.InferenceServerClient(server.grpc) as triton:
            while not over.is_set():
                try:
                    assert_same(ask(triton, small_scene, SMALL), first_answer)
                except InferenceServerException as error:
                    refusals.append(str(error))
                    return
                except AssertionError as error:
                    wrong.append(error)

    with live_server(own_repository, tmp_path, "--exit-timeout-s=6") as server:
        callers = [threading.Thread(target=ask_on, args=[server]) for _ in range(3)]
        for caller in callers:
            caller.start()
        until(lambda: server.metric("alpamayo_requests_total", model=STAGES[2], outcome="answered") > 3, "answers")
        launcher = Process.read(Process.read(process_of(STAGES[0], own_repository)).parent).parent
        os.kill(launcher, signal.SIGTERM)
        for caller in callers:
            caller.join(PATIENCE_S)
        over.set()
        until(lambda: Process.read(launcher).ended, "the launcher to exit")
        assert "requests keep coming" in server.log.read_text()
    assert not wrong
    assert len(refusals) == 3
    assert all("the server is stopping and takes no new requests" in it for it in refusals), refusals
