import json
import os
import signal
import socket
import subprocess
import sys

import grpc
import numpy as np
import pytest
from alpamayo_client.cli import main
from little_triton import STAGES, answer


@pytest.fixture
def scene_path(tmp_path, scene):
    scene.save(tmp_path / "scene.npz")
    return str(tmp_path / "scene.npz")


def predict(triton, scene_path, output, *options):
    return main(["predict", "--url", triton.url, "--scene", scene_path, "--output", str(output), *options])


def test_predict_leaves_numbers_thoughts_and_a_picture(tmp_path, triton, scene_path, capsys):
    triton.outputs = answer(sets=2, samples=3, seed=5)
    output = tmp_path / "new" / "out"
    sampling = ["--num-traj-samples", "3", "--num-traj-sets", "2", "--top-p", "1", "--seed", "5", "--timeout-s", "30"]
    assert predict(triton, scene_path, output, *sampling) == 0
    with np.load(output / "prediction.npz", allow_pickle=False) as saved:
        assert saved["pred_xyz"].shape == (1, 2, 3, 64, 3)
    assert (
        output / "reasoning.txt"
    ).read_text() == "thought 0: Thought 0.\nthought 1: Thought 1.\nthought 2: Thought 2.\n"
    assert (output / "prediction.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for said in [*STAGES, "whole call", "thought 2: Thought 2.", "minADE@3: 1.500 m", "seed 5", str(output)]:
        assert said in printed
    (request,) = triton.requests
    assert set(request.parameters) == {"num_traj_samples", "num_traj_sets", "top_p", "seed", "deadline_ms", "timeout"}
    assert request.parameters["top_p"].double_param == 1.0


def test_given_thoughts_are_sent(tmp_path, triton, scene_path):
    assert predict(triton, scene_path, tmp_path, "--reasoning", "Stop.", "--reasoning", "") == 0
    (request,) = triton.requests
    sent = dict(zip([i.name for i in request.inputs], request.raw_input_contents, strict=True))
    assert sent["reasoning"] == b"\x05\0\0\0Stop.\0\0\0\0"


def test_a_thought_cannot_reach_the_terminal_with_control_characters(tmp_path, triton, scene_path, capsys):
    triton.outputs = answer(
        cot=np.array([[[b"\x1b[2Jgone\r\nnew line"]]], dtype=np.object_), reasoning_complete=np.zeros((1, 1, 1), bool)
    )
    assert predict(triton, scene_path, tmp_path) == 0
    assert "thought 0 (cut off): \N{REPLACEMENT CHARACTER}[2Jgone new line\n" in capsys.readouterr().out


def test_metadata_is_json(triton, capsys):
    assert main(["metadata", "--url", triton.url]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoint"] == "tiny"


@pytest.mark.parametrize("status", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
def test_a_server_that_fails_is_one_line(tmp_path, triton, scene_path, capsys, status):
    triton.fails_with = status, "out of\nmemory"
    assert predict(triton, scene_path, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("alpamayo: ")
    assert error.endswith("out of memory\n")
    assert error.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def test_a_server_that_is_not_ready(tmp_path, triton, scene_path, capsys):
    triton.ready.discard("alpamayo_unicycle")
    assert predict(triton, scene_path, tmp_path, "--wait-s", "0") == 1
    assert "models not ready: alpamayo_unicycle" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["predict"], ["predict", "--scene", "nowhere.npz", "--output", "out"]])
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_nobody_who_reads(triton):
    """As in `alpamayo metadata | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from alpamayo_client.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "metadata", "--url", triton.url]
    ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, "")


def test_ctrl_c_is_one_line():
    """While it waits for a server that says nothing."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a parent may ignore it
        "from alpamayo_client.cli import main; sys.exit(main())"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        command = [sys.executable, "-c", code, "metadata", "--url", f"127.0.0.1:{silent.getsockname()[1]}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, words = process.communicate(timeout=60)
            connection.close()
    assert (process.returncode, words) == (128 + signal.SIGINT, "alpamayo: interrupted\n")
