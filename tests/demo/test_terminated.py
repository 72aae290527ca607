"""SIGTERM to a command that has a server under it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from alpamayo_serve.children import children
from end_to_end.live_server import left_behind

PATIENCE_S = 60  # a command that hangs must not hang the tests


def descendants(pid: int) -> set[int]:
    below = children(pid)
    return below.union(*map(descendants, below))


@pytest.mark.parametrize(
    ("module", "arguments", "line"),
    [
        ("alpamayo_demo.drive", ["{repository}", "--seeds=1000", "--seconds=0.5"], "route  1: "),
        ("alpamayo_demo", ["{checkpoint}", "--output={tmp_path}/out"], "ready after "),
    ],
)
def test_nothing_is_left_behind(repository, checkpoint, tmp_path, module, arguments, line):
    temporary, folders = tmp_path / "tmp", {"repository": repository, "checkpoint": checkpoint, "tmp_path": tmp_path}
    temporary.mkdir()
    command = [sys.executable, "-u", "-m", module, *(it.format(**folders) for it in arguments)]
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert any(it.startswith(line) for it in process.stdout)
        below = descendants(process.pid)
        names = {name for pid in below if (name := Path(f"/proc/{pid}/comm").read_text().strip())}
        assert "tritonserver" in names
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert [pid for pid in below if Path(f"/proc/{pid}").exists()] == []
    assert [it for pid in below for it in left_behind(pid)] == []
    assert list(temporary.iterdir()) == []
