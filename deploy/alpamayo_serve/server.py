"""Which tritonserver to run, and what it needs around it."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from alpamayo_serve.errors import LaunchError
from alpamayo_serve.repository import check_path

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBPYTHON = f"libpython{PYTHON}.so.1.0"


@dataclass(frozen=True)
class Server:
    """A tritonserver, its environment, and the flags by which it finds its own parts."""

    executable: Path
    environment: dict[str, str]
    flags: tuple[str, ...] = ()


def find_server(private: Path) -> Server:
    """The tritonserver on PATH as it is, or the one from PyPI with what it lacks, put into the empty folder `private`.

    Raises LaunchError if there is neither, or if the one from PyPI cannot run this Python.
    """
    on_path = shutil.which("tritonserver")
    if on_path:
        return Server(Path(on_path), _environment())
    wheel = importlib.util.find_spec("pytriton")  # found, not imported
    if wheel is None or wheel.origin is None:
        raise LaunchError(
            "no tritonserver: there is none on PATH, and the one from PyPI is not installed in this Python "
            f"({sys.executable}). `pip install nvidia-pytriton==0.7.0` (Linux, x86-64, Python < 3.13), "
            "or run inside NVIDIA's Triton container (tritonserver:<yy.mm>-py3)"
        )
    check_path(private, "set TMPDIR to another folder")
    home = Path(wheel.origin).parent / "tritonserver"
    stub = _find_stub(home)
    _check_numpy(version("numpy"))
    # Links, not copies: the stub finds its CUDA library relative to its own place.
    _link((*(home / "backends" / "python").iterdir(), stub), private / "backends" / "python")
    _make_python(private / "python")
    environment = _environment()
    environment["PATH"] = _prepend(private / "python" / "bin", "PATH")
    if LIBPYTHON.encode() in stub.read_bytes():  # the one for 3.13 brings its own
        # Only this library: the folder it comes from may hold a libstdc++ or libssl that tritonserver must not load.
        _link([_find_libpython()], private / "lib")
        environment["LD_LIBRARY_PATH"] = _prepend(private / "lib", "LD_LIBRARY_PATH")
    return Server(home / "bin" / "tritonserver", environment, (f"--backend-directory={private / 'backends'}",))


def _environment() -> dict[str, str]:
    """As it is here, but for the number of heaps, unless that is set.

    tritonserver has over a hundred threads, to which glibc would give eight heaps for each core: one request's frames
    come into one of them, the next one's into another, and each keeps what was freed in it.
    """
    return {"MALLOC_ARENA_MAX": "1"} | os.environ


def _check_numpy(found: str) -> None:
    """Raises LaunchError for one with which models would be handed other numbers than were sent, without a word."""
    if int(found.partition(".")[0]) >= 2:
        raise LaunchError(
            f"numpy {found}: the tritonserver from PyPI is made for numpy 1, and hands a newer one wrong inputs; "
            "`pip install 'numpy<2'`"
        )


def _find_stub(home: Path) -> Path:
    """The program that runs a model's Python code: the wheel has one for each version of Python."""
    stub = home / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"
    if not stub.is_file():
        versions = ", ".join(sorted(folder.name for folder in stub.parent.parent.glob("3.*")))
        raise LaunchError(
            f"the tritonserver from PyPI runs models with Python {versions}; this is {PYTHON} ({sys.executable})"
        )
    return stub


def _make_python(folder: Path) -> None:
    """A virtual environment that sees what this Python sees.

    The stub ignores PYTHONPATH. It takes the `python3` on PATH for itself, and the packages that belong to that one.
    """
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python3").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(f"home = {sys.base_exec_prefix}/bin\ninclude-system-site-packages = false\n")
    site_packages = folder / "lib" / f"python{PYTHON}" / "site-packages"
    site_packages.mkdir(parents=True)
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    lines = [os.path.abspath(path) for path in own if path]
    lines += [
        f"import site; site.addsitedir({path!r})"
        for path in sys.path
        if Path(path).name in ("site-packages", "dist-packages")
    ]
    (site_packages / "alpamayo_serve.pth").write_text("\n".join(lines) + "\n")


def _find_libpython() -> Path:
    """The running Python as a shared library, or the system's of the same version."""
    folders = [sysconfig.get_config_var("LIBDIR") or "", f"{sys.base_prefix}/lib"]
    folders += os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    for folder in filter(None, folders):
        if (Path(folder) / LIBPYTHON).is_file():
            return Path(folder) / LIBPYTHON
    # Not always on a user's PATH.
    ldconfig = shutil.which("ldconfig", path=os.pathsep.join((os.environ.get("PATH", ""), "/sbin", "/usr/sbin")))
    cache = subprocess.run([ldconfig, "-p"], capture_output=True, text=True).stdout if ldconfig else ""
    for line in cache.splitlines():
        if line.split()[:1] == [LIBPYTHON] and platform.machine().replace("_", "-") in line:
            return Path(line.split(" => ")[1])
    raise LaunchError(
        f"no {LIBPYTHON}, which the tritonserver from PyPI needs and {sys.executable} comes without: "
        f"`apt-get install libpython{PYTHON}`, or use a Python built with --enable-shared"
    )


def _link(sources: Iterable[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for source in sources:
        (folder / source.name).symlink_to(source.absolute())


def _prepend(folder: Path, variable: str) -> str:
    return os.pathsep.join(filter(None, (str(folder), os.environ.get(variable))))
