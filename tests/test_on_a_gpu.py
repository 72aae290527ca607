"""The script for a machine with a GPU: it installs all that is needed, and what fails does not stop the rest."""

import importlib.metadata
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import on_a_gpu
import pytest
import wheels
from alpamayo_export import make_checkpoint
from on_a_gpu import DONE, KEPT, NO_TIME, CannotRun, Outcome, Step
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BROUGHT = ("torch", "transformers")
# Of tritonserver's wheel the binary is used alone; alpamayo-triton's own are installed from the clone.
NOT_NEEDED_BY = {"nvidia-pytriton"}
OWN = {"alpamayo-triton", "alpamayo-client", "alpamayo-demo"}


def needs(names, extras=("",)):
    """Every distribution that those need, themselves included, as they are installed here."""
    found, todo = set(), [(canonicalize_name(name), extras) for name in names]
    while todo:
        name, extras = todo.pop()
        found.add(name)
        if name in NOT_NEEDED_BY:
            continue
        for text in importlib.metadata.requires(name) or []:
            needed = Requirement(text)
            wanted = [needed.marker.evaluate({"extra": extra}) for extra in extras] if needed.marker else [True]
            key = canonicalize_name(needed.name)
            if any(wanted) and (key not in found or needed.extras):
                todo.append((key, ("", *needed.extras)))
    return found


def test_the_wheels_are_all_that_torch_and_transformers_do_not_bring():
    wanted = needs(["alpamayo-demo"]) | needs(["alpamayo-triton"], ("", "server", "tensorrt-rtx", "nvjpeg"))
    wanted |= {"nvidia-ml-py", "setuptools"}  # memory.py's, and what installs this project
    fetched = {canonicalize_name(name) for name in wheels.PACKAGES}
    assert wanted - needs(BROUGHT) - OWN - fetched == set()
    assert fetched - wanted == set()
    assert "numpy" in fetched  # the one that is brought is too new for tritonserver's wheel


def test_torch_and_transformers_are_lent_and_nothing_else(tmp_path):
    on_a_gpu.lend(tmp_path / "site-packages")
    lent = {path.name for path in (tmp_path / "site-packages").iterdir()}
    assert {"torch", "transformers", "pip", "regex", "typing_extensions.py", "sympy"} <= lent
    assert lent & {"onnx", "matplotlib", "pytest", "tritonclient"} == set()
    check = "import sys; sys.path[:] = [it for it in sys.path if 'site-packages' not in it] + [sys.argv[1]]; "
    check += "import torch, transformers; print(torch.__file__, transformers.Qwen3VLConfig())"
    done = subprocess.run([sys.executable, "-c", check, tmp_path / "site-packages"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def test_a_python_without_torch_is_told(monkeypatch):
    monkeypatch.setattr(on_a_gpu, "installed", lambda name: name != "torch")
    with pytest.raises(CannotRun, match="has no torch"):
        on_a_gpu.needed_by(on_a_gpu.LENT)


def test_a_large_wheel_comes_in_parts_and_is_put_together(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    content = bytes(range(256)) * 10
    (folder / "large-1-py3-none-any.whl").write_bytes(content)
    (folder / "small-1-py3-none-any.whl").write_bytes(b"small")
    for file in list(folder.iterdir()):
        wheels.split(file, 1000)
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"large-1-py3-none-any.whl.part0{i}" for i in range(3)),
        "small-1-py3-none-any.whl",
    ]
    for _ in range(2):  # the second time over what the first has left
        whole = on_a_gpu.joined(folder, tmp_path / "work")
        assert [path.name for path in whole] == ["small-1-py3-none-any.whl", "large-1-py3-none-any.whl"] or len(
            whole
        ) == 2
        assert (tmp_path / "work" / "large-1-py3-none-any.whl").read_bytes() == content


def step(code, limit_s=60.0, **more):
    return Step("it", [sys.executable, "-c", code], limit_s, **more)


def test_a_step_ends_in_one_of_these_ways(tmp_path):
    log, end = tmp_path / "log.txt", time.monotonic() + 600
    assert on_a_gpu.run(step("print('hello')"), log, end).outcome == DONE
    assert "hello" in log.read_text()
    assert on_a_gpu.run(step("raise SystemExit(3)"), log, end).outcome == "failed with exit code 3"
    assert on_a_gpu.run(step("", makes=tmp_path), log, end).outcome == KEPT
    assert on_a_gpu.run(step("", needs=tmp_path / "repository"), log, end).outcome == "repository is not there"
    assert on_a_gpu.run(step(""), log, time.monotonic()).outcome == NO_TIME


def test_a_step_that_takes_too_long_is_told_as_by_ctrl_c(tmp_path):
    log = tmp_path / "log.txt"
    waiting = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background has switched it off
try:
    signal.pause()
except KeyboardInterrupt:
    print("ended", "its server")
"""
    outcome = on_a_gpu.run(step(waiting, limit_s=5.0), log, time.monotonic() + 600)
    assert outcome.outcome == "stopped after 5 s"
    assert outcome.failed
    assert "ended its server" in log.read_text()


@pytest.fixture
def _installed(monkeypatch):
    """Nothing is installed: the environment is this one."""
    monkeypatch.setattr(on_a_gpu, "make_environment", lambda *_: sys.executable)


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("fails", [True, False])
def test_what_fails_does_not_stop_the_rest(tmp_path, capsys, monkeypatch, fails):
    def steps(*_):
        one = [sys.executable, "-c", f"raise SystemExit({int(fails)})"]
        return [Step("latency", one, 60.0), Step("memory", one, 60.0), Step("load", [sys.executable, "-c", ""], 60.0)]

    monkeypatch.setattr(on_a_gpu, "benchmarks", steps)
    output, work = tmp_path / "output", tmp_path / "work"
    arguments = ["wheels", str(output), "--size", "tiny", "--work", str(work), "--only", "latency", "load"]
    assert on_a_gpu.main(arguments) == int(fails)
    told = json.loads((output / "summary.json").read_text())
    assert [it["name"] for it in told] == ["latency", "load"]
    assert told[0]["outcome"] == ("failed with exit code 1" if fails else DONE)
    assert told[1]["outcome"] == DONE
    assert ("1 of 2 failed" if fails else "everything ran") in capsys.readouterr().out


def test_every_benchmark_is_there_and_takes_what_it_is_given(tmp_path):
    """`--help` behind the rest: argparse refuses what it does not know before it helps."""
    from importlib import import_module

    steps = on_a_gpu.benchmarks(tmp_path / "python", tmp_path, tmp_path, "released", 5, 60.0, False)
    assert [it.name for it in steps] == ["checkpoint", "repository", *on_a_gpu.BENCHMARKS]
    for it in steps[2:]:
        script, *arguments = it.command[1:]
        assert script.endswith(f"/benchmarks/{it.name}.py")
        with pytest.raises(SystemExit) as stopped:
            import_module(it.name).main([*arguments, "--help"])
        assert stopped.value.code == 0


@pytest.fixture
def has(monkeypatch):
    """Sets how many bytes this machine has: free on disk, available in memory."""

    def set_to(disk, memory):
        monkeypatch.setattr(on_a_gpu.shutil, "disk_usage", lambda path: SimpleNamespace(free=disk))
        monkeypatch.setattr(on_a_gpu, "available_memory", lambda: memory)

    return set_to


def test_too_small_a_disk_is_told_before_anything(tmp_path, has, capsys):
    has(10e9, 100e9)
    assert on_a_gpu.main(["wheels", str(tmp_path / "output"), "--work", str(tmp_path / "work")]) == 1
    assert "has 10.0 GB of disk for this, the host 100.0 GB of memory; wanted 17 GB" in capsys.readouterr().err


def test_what_is_written_already_needs_no_room(tmp_path, has):
    has(8e9, 100e9)
    assert on_a_gpu.short_of_room(tmp_path, "small")
    made = tmp_path / "small" / "checkpoint"
    made.mkdir(parents=True)
    with (made / "model.safetensors").open("wb") as file:
        file.truncate(4_000_000_000)  # sparse
    assert not on_a_gpu.short_of_room(tmp_path, "small")


@pytest.mark.parametrize(("disk", "memory"), [(40e9, 100e9), (60e9, 30e9)])
def test_where_there_is_little_room_weights_are_drawn_on_the_gpu(tmp_path, has, capsys, disk, memory):
    has(disk, memory)
    assert on_a_gpu.short_of_room(tmp_path, "released")
    assert "will be drawn on the GPU" in capsys.readouterr().out
    (checkpoint, *_) = on_a_gpu.benchmarks(tmp_path / "python", tmp_path, tmp_path, "released", 5, 60.0, True)
    arguments = make_checkpoint.parser().parse_args(checkpoint.command[1:])
    assert (arguments.size, arguments.without_vlm) == ("released", True)


def test_the_memory_that_this_machine_has():
    assert 1e8 < on_a_gpu.available_memory() < 1e14


def test_no_wheels(tmp_path, capsys):
    (tmp_path / "wheels").mkdir()
    arguments = [str(tmp_path / "wheels"), str(tmp_path / "output"), "--size", "tiny", "--work", str(tmp_path / "work")]
    assert on_a_gpu.main(arguments) == 1
    assert "make wheels" in capsys.readouterr().err


def test_the_summary_marks_what_failed():
    text = on_a_gpu.summary([Outcome("latency", DONE, 12.0), Outcome("memory", "failed with exit code 1", 3.4)])
    assert text.splitlines() == [
        "  latency         12 s  done",
        "! memory           3 s  failed with exit code 1",
        "1 of 2 failed; see log.txt",
    ]
