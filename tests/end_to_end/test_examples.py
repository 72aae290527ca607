"""What is in `examples/` for those who speak no Python, or have none of ours, run as its users run it."""

import base64
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import service_pb2, service_pb2_grpc

from .conftest import LONG_THOUGHTS
from .live_server import heed_ctrl_c, until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCENE = EXAMPLES / "scene"
GRPCURL = EXAMPLES / "grpcurl"
ANSWER_S = 120
PARAMETERS = '{"seed": 5, "max_generation_length": 8}'
INFER = "inference.GRPCInferenceService/ModelInfer"


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(command: list, **more) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, timeout=ANSWER_S, **more)


def printed(prediction) -> str:
    lines = [f"thought: {json.dumps(prediction.cot[0, 0, 0])}", f"seed: {prediction.seed}"]
    for time_s, (x, y, _) in zip(prediction.timestamps_s, prediction.pred_xyz[0, 0, 0], strict=True):
        lines.append(f"{time_s:.1f} s: {x:.3f} m ahead, {y:.3f} m to the left")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def expected(client):
    frames = [[frame.read_bytes() for frame in sorted(camera.iterdir())] for camera in sorted(SCENE.glob("camera*"))]
    xyz, rot = (json.loads((SCENE / f"ego_history_{name}.json").read_text()) for name in ("xyz", "rot"))
    return client.predict(frames, xyz, rot, **json.loads(PARAMETERS))


def test_the_scene_is_the_demo_s(tmp_path):
    subprocess.run([sys.executable, EXAMPLES / "make_scene.py", tmp_path], check=True)
    for name in ("ego_history_xyz", "ego_history_rot", "ego_future_xyz"):
        assert (tmp_path / f"{name}.json").read_text() == (SCENE / f"{name}.json").read_text()
    frames = [path.relative_to(SCENE) for path in SCENE.glob("*/*.jpg")]
    assert sorted(frames) == sorted(path.relative_to(tmp_path) for path in tmp_path.glob("*/*.jpg"))
    assert len(frames) == 4


@pytest.fixture(scope="module")
def cpp(tmp_path_factory) -> Path:
    """Compiled as the file itself tells, but for speed of compiling."""
    needs("g++")
    program = tmp_path_factory.mktemp("cpp") / "ask"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror"]
    headers = run(["g++", "-E", "-x", "c++", "-"], input=b"#include <curl/curl.h>\n#include <nlohmann/json.hpp>\n")
    if headers.returncode:
        pytest.skip("libcurl4-openssl-dev or nlohmann-json3-dev is not installed")
    subprocess.run(["g++", *flags, EXAMPLES / "cpp" / "ask.cpp", "-o", program, "-lcurl"], check=True)
    return program


@pytest.fixture(params=["python", "curl", "c++"])
def program(request) -> list:
    """How each HTTP example is called, up to its arguments."""
    if request.param == "python":
        return [sys.executable, "-I", EXAMPLES / "http" / "ask.py"]
    if request.param == "curl":
        needs("curl")
        return [EXAMPLES / "http" / "ask.sh"]
    return [request.getfixturevalue("cpp")]


def assert_prints(stdout: bytes, prediction) -> None:
    """The lines, or the answer's JSON as curl gets it."""
    if not stdout.startswith(b"{"):
        assert stdout.decode() == printed(prediction)
        return
    data = {output["name"]: output["data"] for output in json.loads(stdout)["outputs"]}
    assert data["cot"] == [prediction.cot[0, 0, 0]]
    np.testing.assert_allclose(data["pred_xyz"], prediction.pred_xyz.ravel(), rtol=1e-6)


def test_over_http(server, program, expected):
    got = run([*program, server.http, SCENE, PARAMETERS])
    assert (got.returncode, got.stderr) == (0, b"")
    assert_prints(got.stdout, expected)


def test_what_if(server, tmp_path):
    got = run([sys.executable, EXAMPLES / "what_if.py", server.grpc, SCENE, tmp_path / "what_if.png"])
    assert got.returncode == 0, got.stderr
    own, *given = got.stdout.decode().splitlines()
    assert own.startswith("  0.00 m   ")
    assert [line.split(" m   ")[1] for line in (given[0], given[-1])] == [
        "Keep the lane at a steady speed.",
        "(no thought)",
    ]
    assert (tmp_path / "what_if.png").read_bytes().startswith(b"\x89PNG")


def test_without_parameters_the_server_s_apply(server, program):
    assert run([*program, server.http, SCENE]).returncode == 0


@pytest.mark.parametrize(
    ("parameters", "words"),
    [({"sead": 5}, b"unknown request parameter 'sead'"), ({"deadline_ms": 0}, b"deadline_ms is spent")],
)
def test_the_server_s_words_are_printed(server, program, parameters, words):
    got = run([*program, server.http, SCENE, json.dumps(parameters)])
    assert got.returncode != 0
    assert words in got.stdout + got.stderr


def test_without_a_server(program):
    got = run([*program, "127.0.0.1:1", SCENE])
    assert got.returncode not in (0, None)
    assert b"connect" in got.stderr.lower()
    assert b"Traceback" not in got.stderr


def test_ctrl_c_stops_the_server_s_work(server, program):
    def cancelled() -> float:
        return server.metric("alpamayo_requests_total", model="alpamayo_reasoner", outcome="cancelled")

    before = cancelled()
    process = subprocess.Popen(
        [*program, server.http, SCENE, json.dumps(LONG_THOUGHTS)],
        stdout=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,
    )
    try:
        until(lambda: server.metric("alpamayo_requests_in_progress", model="alpamayo_reasoner") == 1, "its begin")
        process.send_signal(signal.SIGINT)
        assert process.wait(ANSWER_S) not in (0, -signal.SIGINT)
        until(lambda: cancelled() == before + 1, "the server to stop")
    finally:
        process.kill()
        process.wait()


def test_cpp_refuses_a_scene_without_frames(cpp, server, tmp_path):
    got = run([cpp, server.http, tmp_path])
    assert (got.returncode, got.stdout) == (1, b"")
    assert b"wanted a folder per camera, with as many frames in each" in got.stderr


@pytest.mark.parametrize(
    "command",
    [[sys.executable, EXAMPLES / "http" / "ask.py", "localhost:1"], ["sh", GRPCURL / "request.sh"]],
    ids=["python", "grpcurl"],
)
def test_a_scene_without_frames_is_refused(command, tmp_path):
    got = run([*command, tmp_path])
    assert (got.returncode, got.stdout) == (1, b"")
    assert b"wanted folders camera*, each with as many files *.jpg" in got.stderr


def test_cpp_builds_with_cmake(cpp, tmp_path):
    needs("cmake")
    assert run(["cmake", "-S", EXAMPLES / "cpp", "-B", tmp_path]).returncode == 0
    assert run(["cmake", "--build", tmp_path]).returncode == 0


def grpcurl_request(script: str, *arguments) -> bytes:
    return subprocess.run([GRPCURL / script, *arguments], capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def grpcurl_json() -> bytes:
    typed = {"seed": {"int64_param": 5}, "max_generation_length": {"int64_param": 8}}
    return grpcurl_request("request.sh", SCENE, json.dumps(typed))


def test_what_grpcurl_would_send(triton, grpcurl_json, expected):
    """The same JSON through the same messages, without grpcurl."""
    request = json_format.Parse(grpcurl_json, service_pb2.ModelInferRequest())
    assert len(request.id) == 36
    answer = service_pb2_grpc.GRPCInferenceServiceStub(triton._channel).ModelInfer(request, timeout=ANSWER_S)
    index = [output.name for output in answer.outputs].index("pred_xyz")
    np.testing.assert_array_equal(
        np.frombuffer(answer.raw_output_contents[index], np.float32), expected.pred_xyz.ravel()
    )
    needs("jq")
    got = run([GRPCURL / "answer.sh"], input=json_format.MessageToJson(answer).encode())
    assert got.stdout.decode() == printed(expected)


def test_what_grpcurl_would_send_to_give_up(triton):
    request = json_format.Parse(grpcurl_request("cancel.sh", "a" * 16), service_pb2.ModelInferRequest())
    assert request.inputs[0].contents.bytes_contents == [b"a" * 16]
    answer = service_pb2_grpc.GRPCInferenceServiceStub(triton._channel).ModelInfer(request, timeout=ANSWER_S)
    assert answer.raw_output_contents == [b"\1"]  # noted


@pytest.fixture(scope="module")
def protoset(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("grpcurl") / "kserve.protoset"
    path.write_bytes(subprocess.run([sys.executable, GRPCURL / "protoset.py"], capture_output=True, check=True).stdout)
    return path


def test_the_protoset_is_complete(protoset):
    described = FileDescriptorSet.FromString(protoset.read_bytes())
    names = {file.name for file in described.file}
    assert {needed for file in described.file for needed in file.dependency} <= names
    assert "GRPCInferenceService" in [service.name for file in described.file for service in file.service]


def test_grpcurl(server, protoset, grpcurl_json, expected):
    needs("grpcurl", "jq")
    command = ["grpcurl", "-plaintext", "-protoset", protoset, "-max-time", "60", "-d", "@", server.grpc, INFER]
    got = run(command, input=grpcurl_json)
    assert got.returncode == 0, got.stderr
    assert run([GRPCURL / "answer.sh"], input=got.stdout).stdout.decode() == printed(expected)

    refused = run(command, input=grpcurl_request("request.sh", SCENE, '{"sead": {"int64_param": 5}}'))
    assert refused.returncode != 0
    assert b"unknown request parameter 'sead'" in refused.stderr

    noted = run(command, input=grpcurl_request("cancel.sh", json.loads(grpcurl_json)["id"]))
    assert json.loads(noted.stdout)["raw_output_contents"] == [base64.b64encode(b"\1").decode()]
