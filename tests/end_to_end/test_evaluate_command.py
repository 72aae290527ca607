"""`alpamayo evaluate` and `alpamayo view`, as processes of their own, against the running server.

Clips come from files of the dataset's own format, which its devkit reads without a network.
"""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import threading
from contextlib import suppress

import devkit_dataset as dataset
import numpy as np
import pyarrow.parquet as pq
import pytest
from alpamayo_client.evaluation.physical_ai_av import PhysicalAiAv
from alpamayo_client.metrics import min_ade_by_horizon

from .live_server import SCRIPTS, heed_ctrl_c, until

ASKED = {"num_traj_samples": 2, "max_generation_length": 16, "inference_steps": 2, "seed": 9}
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1"}
SCENES = 8


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Options that name two clips of equal content."""
    cache = tmp_path_factory.mktemp("cache")
    dataset.write_dataset(cache, ["one", "two"])
    return ["--clips", "one", "two", "--revision", dataset.REVISION, "--cache-dir", cache]


@pytest.fixture(scope="module")
def scene(clips):
    """That of both."""
    with dataset.offline():
        source = PhysicalAiAv(dataset.REVISION, clips[-1], ["two"], [5_100_000])
        return source.load(*source.keys)


@pytest.fixture
def folder(scene, tmp_path):
    """Options that name a folder of files of equal content."""
    (tmp_path / "scenes").mkdir()
    for number in range(SCENES):
        scene.save(tmp_path / "scenes" / f"{number}.npz")
    return ["--scenes", tmp_path / "scenes"]


@pytest.fixture
def command(server, tmp_path):
    """What is typed, to ask for scene after scene."""

    def command(scenes, *options, url=server.grpc, **changed):
        asked = [f"--{name.replace('_', '-')}={value}" for name, value in (ASKED | changed).items()]
        common = ["--url", url, "--output", tmp_path / "out", "--concurrency", "1", "--worst", "2"]
        return [SCRIPTS / "alpamayo", "evaluate", *common, *asked, *scenes, *options]

    return command


def run(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=ENVIRONMENT)


def rows(folder):
    return pq.read_table(folder / "out" / "results.parquet").to_pylist()


def journal_lines(folder):
    path = folder / "out" / "journal.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def test_clips(command, clips, scene, client, tmp_path):
    ran = run(command(clips, "--label"))
    assert ran.returncode == 0, ran.stderr
    prediction = client.predict(scene.image_frames, scene.ego_history_xyz, scene.ego_history_rot, **ASKED)
    for row in rows(tmp_path):
        assert (row["t0_us"], row["seed"]) == (5_100_000, 9)
        np.testing.assert_array_equal(np.reshape(row["pred_xyz"], (1, 1, 2, 64, 3)), prediction.pred_xyz.astype(float))
        assert row["cot"] == list(prediction.cot[0, 0])
        errors_m = min_ade_by_horizon(prediction.pred_xyz, dataset.circle(0.1 * np.arange(1, 65))[0])
        assert row["min_ade_3s_m"] == pytest.approx(errors_m[3.0], rel=1e-5)
        assert row["latency_s"] > 0
    labels = pq.read_table(tmp_path / "out" / "labels.parquet").to_pylist()
    assert [(label["scene_id"], label["traj_sample"]) for label in labels] == [
        (clip, sample) for clip in ("one", "two") for sample in (0, 1)
    ]
    assert re.search(r"^min_ade_6\.4s_m +\d+\.\d+ ", ran.stdout, re.M), ran.stdout
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["parameters"] == ASKED
    assert settings["model"]["checkpoint"] == client.metadata()["checkpoint"]

    page = tmp_path / "page.html"
    viewed = run([SCRIPTS / "alpamayo", "view", tmp_path / "out", "--output", page])
    assert viewed.returncode == 0, viewed.stderr
    assert page.read_text().count('<img src="data:image/png;base64,') == 2


def test_a_run_that_is_stopped_goes_on(server, command, folder, tmp_path):
    """Killed, then left by the server, then interrupted: what is answered stays, and nothing is asked twice."""
    lines, _ = stop(command(folder), tmp_path, lambda process: process.kill())

    with Cable(server.grpc) as cable:
        on = command(folder, "--wait-s", "1", url=cable.url)
        lines, error = stop(on, tmp_path, lambda _: cable.cut(), lines)
    assert f"{cable.url} is not ready after 1 s" in error
    assert f"{len(lines)} of 8 scenes are answered and saved in {tmp_path / 'out'}" in error
    assert len(rows(tmp_path)) == len(lines)

    lines, error = stop(command(folder), tmp_path, lambda process: process.send_signal(signal.SIGINT), lines)
    assert error.startswith(f"alpamayo: interrupted: {len(lines)} of 8 scenes are answered and saved")
    assert len(error.splitlines()) == 1
    assert len(rows(tmp_path)) == len(lines)

    ran = run(command(folder))
    assert ran.returncode == 0, ran.stderr
    after = journal_lines(tmp_path)
    assert after[: len(lines)] == lines
    answers = rows(tmp_path)
    assert len(after) == len(answers) == SCENES
    assert all(row["pred_xyz"] == answers[0]["pred_xyz"] and row["cot"] == answers[0]["cot"] for row in answers)


def stop(command, folder, how, before=()):
    """The journal's lines, after a run that `how` stops when it has written one; what it says."""
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, preexec_fn=heed_ctrl_c
    ) as process:
        until(lambda: len(journal_lines(folder)) > len(before), "an answer")
        how(process)
        _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    lines = journal_lines(folder)
    assert lines[: len(before)] == list(before)
    return lines, error


def test_a_bad_clip_and_other_settings(command, clips, tmp_path):
    bad = ["--clips", "one", "nowhere", *clips[3:]]
    ran = run(command(bad))
    assert ran.returncode == 1
    assert "1 scenes failed, the first is nowhere at 5.1 s (clip nowhere" in ran.stderr
    assert "1 of 2 scenes are answered" in ran.stderr
    (failed,) = (row for row in rows(tmp_path) if row["error"])
    assert failed["scene_id"] == "nowhere"
    assert "nowhere" in (tmp_path / "out" / "worst.html").read_text()
    other = run(command(bad, num_traj_samples=3))
    assert other.returncode == 1
    assert "parameters.num_traj_samples was 2, is 3" in other.stderr
    assert len(other.stderr.splitlines()) == 1


def test_parameters_that_the_server_refuses(command, clips, tmp_path):
    """It names them: one scene is enough."""
    ran = run(command(clips, num_traj_samples=99))
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1
    assert "num_traj_samples x num_traj_sets is 99 x 1" in ran.stderr
    assert journal_lines(tmp_path) == []


def test_the_progress_is_shown_on_a_terminal(command, folder):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    process = subprocess.Popen(
        command(folder, max_generation_length=3), stdout=subprocess.DEVNULL, stderr=theirs, env=ENVIRONMENT
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # how a terminal ends
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    assert process.wait(60) == 0
    assert b"scenes: 100%" in shown
    assert b"8/8" in shown


class Cable:
    """A port that leads to a server until it is cut."""

    def __init__(self, target):
        self._target = target.rsplit(":", 1)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends = [self._listener]
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.cut()

    def cut(self):
        for end in self._ends:
            with suppress(OSError):  # it may not be connected any more
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_carry, args=(source, sink), daemon=True).start()


def _carry(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return
