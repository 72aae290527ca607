import os
import signal
import subprocess
from pathlib import Path

import pytest
from launched import ANY_PORTS, SCRIPT, Launched, write_repository


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Starts `alpamayo-serve REPO ANY_PORTS *arguments`; REPO is `exported`, or what write_repository(**toy) makes."""
    started = []

    def start(*arguments: str, env: dict | None = None, exported: Path | None = None, **toy: str) -> Launched:
        folder = tmp_path_factory.mktemp("serve")
        (folder / "tmp").mkdir()
        repository = exported or write_repository(folder / "repository", **toy)
        with open(folder / "stdout", "w") as stdout, open(folder / "stderr", "w") as stderr:
            process = subprocess.Popen(
                [SCRIPT, repository, *ANY_PORTS, *arguments],
                stdout=stdout,
                stderr=stderr,
                env=os.environ | {"TMPDIR": str(folder / "tmp")} | (env or {}),
            )
        started.append(Launched(process, folder))
        return started[-1]

    yield start
    for launched in started:
        launched.process.kill()
        launched.process.wait()
        for pid in launched.processes():
            os.kill(pid, signal.SIGKILL)
