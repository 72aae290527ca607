import os
import signal
import subprocess

import pytest
from launched import ANY_PORTS, SCRIPT, Launched, write_repository


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Starts `alpamayo-serve REPO ANY_PORTS *arguments`, REPO being what write_repository(**repository) makes."""
    started = []

    def start(*arguments: str, env: dict | None = None, **repository: str) -> Launched:
        folder = tmp_path_factory.mktemp("serve")
        (folder / "tmp").mkdir()
        write_repository(folder / "repository", **repository)
        with open(folder / "stdout", "w") as stdout, open(folder / "stderr", "w") as stderr:
            process = subprocess.Popen(
                [SCRIPT, folder / "repository", *ANY_PORTS, *arguments],
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
