"""What is refused before any server runs, and which server runs."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import alpamayo_model_repository
import alpamayo_serve
import pytest
from alpamayo_serve import server
from alpamayo_serve.errors import LaunchError
from alpamayo_serve.private_folder import LOCK, private_folder
from alpamayo_serve.server import _check_numpy
from launched import ANY_PORTS, SCRIPT, write_repository

OTHER = "opentelemetry,url=http://localhost:1/v1/traces"  # another collector


@pytest.fixture
def toy_repository(tmp_path):
    return write_repository(tmp_path / "repository", flags="--cuda-memory-pool-byte-size=0:1234\n")


def run(*arguments, command=(SCRIPT,), **env: str) -> subprocess.CompletedProcess:
    """Runs a launcher that is expected to end by itself."""
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, env=os.environ | env, check=False
    )


def refusal(*arguments, **options) -> str:
    result = run(*arguments, **options)
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr  # no server's log, no traceback
    return result.stderr


@pytest.fixture
def path_with_tritonserver(tmp_path):
    """A PATH on which a tritonserver lies that writes down how it was called, beside itself, and exits with 7."""
    server = tmp_path / "bin" / "tritonserver"
    server.parent.mkdir()
    server.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@" PYTHONPATH="$PYTHONPATH" PATH="$PATH" '
        'MALLOC_ARENA_MAX="$MALLOC_ARENA_MAX" >"$0.called"\nexit 7\n'
    )
    server.chmod(0o755)
    return f"{server.parent}:{os.environ['PATH']}"


def how_it_was_called(tmp_path) -> list[str]:
    return (tmp_path / "bin" / "tritonserver.called").read_text().splitlines()


def test_tritonserver_on_path_is_preferred(toy_repository, path_with_tritonserver, tmp_path):
    result = run(toy_repository, *ANY_PORTS, "--", "--log-verbose=1", PATH=path_with_tritonserver, PYTHONPATH="mine")
    words = how_it_was_called(tmp_path)
    assert result.returncode == 7
    assert "alpamayo-serve: tritonserver exited with code 7; why, " in result.stderr
    assert result.stdout == ""
    assert {
        f"--model-repository={toy_repository}",
        "--grpc-address=127.0.0.1",
        "--http-address=127.0.0.1",
        "--metrics-address=127.0.0.1",
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        "--exit-timeout-secs=20",
        "--strict-readiness=true",
        "--model-control-mode=none",
        "--cuda-memory-pool-byte-size=0:1234",
        "--log-verbose=1",
        "PYTHONPATH=mine",
        f"PATH={path_with_tritonserver}",
        "MALLOC_ARENA_MAX=1",
    } <= set(words)
    assert not [word for word in words if word.startswith("--backend-directory")]
    ports = {word for word in words if "-port=" in word}
    assert len(ports) == 3
    assert not [port for port in ports if port.endswith("=0")]


def test_who_starts_it_decides_how_many_heaps_there_are(toy_repository, path_with_tritonserver, tmp_path):
    run(toy_repository, *ANY_PORTS, PATH=path_with_tritonserver, MALLOC_ARENA_MAX="4")
    assert "MALLOC_ARENA_MAX=4" in how_it_was_called(tmp_path)


def test_default_ports():
    """As help tells them: another server may have them while the tests run."""
    usage = run("--help").stdout
    for service, port in (("grpc", 8001), ("http", 8000), ("metrics", 8002)):
        assert re.search(rf"--{service}-port PORT\s+default {port};", usage)


def test_host_is_where_all_three_listen(toy_repository, path_with_tritonserver, tmp_path):
    run(toy_repository, *ANY_PORTS, "--host=0.0.0.0", PATH=path_with_tritonserver)
    addresses = [word for word in how_it_was_called(tmp_path) if "-address=" in word]
    assert sorted(addresses) == ["--grpc-address=0.0.0.0", "--http-address=0.0.0.0", "--metrics-address=0.0.0.0"]


@pytest.mark.parametrize("service", ["grpc", "http", "metrics"])
def test_port_in_use(toy_repository, path_with_tritonserver, service):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = refusal(toy_repository, *ANY_PORTS, f"--{service}-port={port}", PATH=path_with_tritonserver)
    assert f"127.0.0.1:{port}: Address already in use" in message
    assert f"--{service}-port" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--http-port=9000", "--metrics-port=9000"), "--metrics-port 9000: the three ports must differ"),
        (("--http-port=99999",), "127.0.0.1:99999"),
        (("--host=192.0.2.1", "--grpc-port=9000"), "cannot listen on 192.0.2.1:9000: Cannot assign requested address"),
        (("--host=no.such.host.invalid",), "--host no.such.host.invalid"),
        (("--host=",), "--host"),
        (("--", "--http-port=1"), "--http-port=1 after --: alpamayo-serve sets --http-port itself"),
        (("--", "--exit-timeout-secs=1"), "--exit-timeout-secs=1 after --"),
        (("--", "--allow-http=false"), "--allow-http=false after --"),
        (
            ("--trace", "--", f"--trace-config={OTHER}"),
            f"--trace-config={OTHER} beside --trace: name the collector once",
        ),
        (("--trace", "--", "--trace-config", OTHER), f"{OTHER} beside --trace: name the collector once"),
    ],
)
def test_arguments_that_cannot_work(toy_repository, path_with_tritonserver, arguments, words):
    assert words in refusal(toy_repository, *ANY_PORTS, *arguments, PATH=path_with_tritonserver)


@pytest.mark.parametrize("missing", ["alpamayo.json", "tritonserver_flags", "echo/config.pbtxt"])
def test_incomplete_repository(toy_repository, path_with_tritonserver, missing):
    (toy_repository / missing).unlink()
    message = refusal(toy_repository, PATH=path_with_tritonserver)
    assert f"{toy_repository} is not a complete model repository" in message
    assert ("config.pbtxt" if "config" in missing else missing) in message
    assert "alpamayo-export" in message


def test_no_repository(tmp_path, path_with_tritonserver):
    message = refusal(tmp_path / "nowhere", PATH=path_with_tritonserver)
    assert f"no model repository at {tmp_path / 'nowhere'}" in message
    assert "alpamayo-export" in message


@pytest.mark.parametrize("line", ["stub-timeout-seconds=900", "--grpc-port=1"])
def test_flags_file_that_cannot_be_applied(toy_repository, path_with_tritonserver, line):
    (toy_repository / "tritonserver_flags").write_text(f"--log-info=true\n{line}\n")
    message = refusal(toy_repository, *ANY_PORTS, PATH=path_with_tritonserver)
    assert line in message
    assert str(toy_repository / "tritonserver_flags") in message


def test_path_that_triton_cannot_take_and_the_way_out(tmp_path, path_with_tritonserver):
    repository = write_repository(tmp_path / "my models")
    message = refusal(repository, PATH=path_with_tritonserver)
    assert f"'{repository}' because of ' '" in message
    assert "symbolic link" in message
    (tmp_path / "link").symlink_to(repository)
    assert run(tmp_path / "link", *ANY_PORTS, PATH=path_with_tritonserver).returncode == 7


# Without site-packages, and so without the wheel.
BARE = (sys.executable, "-S", "-c", "import sys; from alpamayo_serve.cli import main; sys.exit(main())")


@pytest.fixture
def own_packages(tmp_path):
    """A PYTHONPATH with the two packages that the launcher is of, and nothing else."""
    for package in (alpamayo_serve, alpamayo_model_repository):
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / package.__name__).symlink_to(Path(package.__file__).parent)
    return str(tmp_path / "own")


def test_no_tritonserver_at_all(toy_repository, own_packages, tmp_path):
    message = refusal(toy_repository, *ANY_PORTS, command=BARE, PYTHONPATH=own_packages, PATH=str(tmp_path))
    assert "no tritonserver" in message
    assert "pip install nvidia-pytriton" in message


def test_wheel_without_this_python(toy_repository, own_packages, tmp_path):
    wheel = tmp_path / "wheel" / "pytriton"
    (wheel / "tritonserver" / "python_backend_stubs" / "3.8").mkdir(parents=True)
    (wheel / "__init__.py").write_text("raise ImportError('is found, not imported')")
    message = refusal(
        toy_repository, *ANY_PORTS, command=BARE, PYTHONPATH=f"{own_packages}:{wheel.parent}", PATH=str(tmp_path)
    )
    assert "Python 3.8;" in message
    assert f"this is {sys.version_info.major}.{sys.version_info.minor}" in message


@pytest.mark.parametrize("found", ["2.0.0", "2.5.2", "10.1"])
def test_a_numpy_that_the_server_from_pypi_gives_wrong_numbers_is_refused(found):
    with pytest.raises(LaunchError, match=rf"numpy {found}: .*pip install 'numpy<2'"):
        _check_numpy(found)
    _check_numpy("1.26.4")


def test_an_abandoned_folder_is_removed_and_no_other(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with private_folder() as folder:
        (folder / "lib").mkdir()
        killed = shutil.copytree(folder, tmp_path / "alpamayo-serve-killed")  # as it was when its launcher was
    (tmp_path / "alpamayo-serve-repository" / "alpamayo").mkdir(parents=True)  # a user's own
    (tmp_path / "alpamayo-serve-notes").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / LOCK).touch()
    (tmp_path / "alpamayo-serve-link").symlink_to(tmp_path / "mine")
    others = set(tmp_path.iterdir()) - {killed}
    with private_folder() as one, private_folder() as another:
        (one / "used").touch()
        assert (tmp_path / "alpamayo-serve-repository" / "alpamayo").is_dir()
        assert set(tmp_path.iterdir()) == {one, another, *others}
    assert set(tmp_path.iterdir()) == others


def test_what_another_user_left_is_not_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with private_folder() as folder:
        theirs = shutil.copytree(folder, tmp_path / "alpamayo-serve-theirs")
    us = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: us + 1)  # only root could make files of another's
    with private_folder():
        assert (theirs / LOCK).exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("part", ["", LOCK])
def test_what_is_in_part_another_users_is_not_removed(monkeypatch, tmp_path, part):
    """Who may write into a user's own folder must not have it removed by laying a lock there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with private_folder() as folder:
        mixed = shutil.copytree(folder, tmp_path / "alpamayo-serve-mixed")
    os.chown(mixed / part, 65534, 65534)
    with private_folder():
        assert (mixed / LOCK).exists()


def test_no_libpython(monkeypatch, tmp_path):
    """A Python that is built without it, on a system that has none."""
    monkeypatch.setattr(server.sysconfig, "get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(server.sys, "base_prefix", str(tmp_path))
    monkeypatch.setattr(server.shutil, "which", lambda *_, **__: None)  # no ldconfig either
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    with pytest.raises(LaunchError, match=rf"no {server.LIBPYTHON}.*apt-get install libpython{server.PYTHON}"):
        server._find_libpython()
    (tmp_path / server.LIBPYTHON).touch()
    assert server._find_libpython() == tmp_path / server.LIBPYTHON
