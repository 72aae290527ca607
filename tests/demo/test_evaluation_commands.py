"""Bad input to `python -m alpamayo_demo.evaluate` and `benchmarks/accuracy.py`: code 1 and a line, before any work."""

import concurrent.futures
import socket
from pathlib import Path

import grpc
import pytest
from accuracy import main as accuracy
from alpamayo_demo.evaluate.cli import main as evaluate

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = str(ROOT / "tests" / "golden" / "checkpoint")


@pytest.fixture
def nobody():
    """An address where nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


@pytest.fixture
def stranger():
    """A gRPC server that knows none of Triton's calls."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def refused(capsys, command, *arguments):
    """The line that it prints."""
    assert command([str(argument) for argument in arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()  # no progress bar either: nothing was begun
    return line


@pytest.mark.parametrize("command", [evaluate, accuracy])
def test_no_such_checkpoint(capsys, tmp_path, command):
    assert f"no folder {tmp_path / 'none'}" in refused(capsys, command, tmp_path / "none")


@pytest.mark.parametrize("command", [evaluate, accuracy])
def test_a_folder_that_is_no_checkpoint(capsys, tmp_path, command):
    assert str(tmp_path) in refused(capsys, command, tmp_path)


@pytest.mark.parametrize("command", [evaluate, accuracy])
@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("--scenes-per-situation", 0, "at least 1"),
        ("--scenes-per-situation", 10**9, "at most 1000"),
        ("--first-seed", -1, "at least 0"),
    ],
)
def test_scenes_that_there_are_not(capsys, command, option, value, wanted):
    assert f"{option}: got {value}, wanted {wanted}" in refused(capsys, command, GOLDEN, option, value)


@pytest.mark.parametrize("command", [evaluate, accuracy])
def test_nowhere_to_write(capsys, tmp_path, command):
    for output in (tmp_path / "none" / "result.json", tmp_path):
        assert f"--output {output}" in refused(capsys, command, GOLDEN, "--output", output)


@pytest.mark.parametrize(("option", "value"), [("samples", 0), ("seed", -1), ("seed", 2**53)])
def test_numbers_out_of_range(capsys, option, value):
    assert f"{option}: got {value}, wanted" in refused(capsys, evaluate, GOLDEN, f"--{option}", value)


def test_nobody_at_the_url(capsys, nobody):
    assert nobody in refused(capsys, evaluate, "--url", nobody)


def test_an_empty_url_is_not_the_committed_checkpoint(capsys):
    refused(capsys, evaluate, "--url", "")


def test_a_server_of_something_else(capsys, stranger):
    assert stranger in refused(capsys, evaluate, "--url", stranger)


def test_a_url_and_a_checkpoint(capsys, nobody):
    assert "got both" in refused(capsys, evaluate, GOLDEN, "--url", nobody)


def test_no_such_split(capsys):
    with pytest.raises(SystemExit) as error:
        evaluate(["--split", "train"])
    assert error.value.code == 2
    assert "invalid choice: 'train'" in capsys.readouterr().err
