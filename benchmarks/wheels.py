"""`make wheels`: what `on_a_gpu.py` installs on a machine that has torch, transformers and a GPU, but no network.

Fetched here for another Python, in the versions of `constraints.txt`; without what torch and transformers bring. No
file is larger than PART_BYTES: a wheel that is comes in parts, which `on_a_gpu.py` puts together. perf_analyzer comes
along.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import perf_analyzer
from alpamayo_demo.errors import DemoError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "wheels"
PART_BYTES = 48 * 2**20
PERF_ANALYZER = "perf-analyzer"  # the folder's name beside the wheels
GLIBC = range(17, 40)  # 2.N: pip takes the newest one's wheels only if all are named

# numpy: transformers brings one, but with 2 the models' Python of nvidia-pytriton reads other numbers than were sent.
PACKAGES = """
    setuptools numpy
    nvidia-pytriton tritonclient grpcio protobuf python-rapidjson urllib3 packaging
    tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs nvidia-nvimgcodec-cu13 nvidia-nvjpeg nvidia-ml-py
    onnx onnx-ir onnxscript onnxruntime ml_dtypes flatbuffers
    matplotlib contourpy cycler fonttools kiwisolver pyparsing python-dateutil tzdata pillow
""".split()


def fetch(folder: Path, python: str) -> None:
    """Downloads into `folder`, which may hold some of it, for that version of Python, such as 3.12.

    Raises DemoError: a package cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.whl"), *folder.glob("*.whl.part*")):
        old.unlink()  # two versions of one package would stop the whole installation
    platforms = [f"manylinux_2_{n}_x86_64" for n in GLIBC] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", python, "--constraint", str(ROOT / "constraints.txt")]
    command += [word for platform in platforms for word in ("--platform", platform)]
    done = subprocess.run([*command, "--dest", str(folder), *PACKAGES], capture_output=True, text=True)
    if done.returncode:
        raise DemoError(f"cannot fetch the wheels for Python {python}:\n{done.stderr.strip()}")
    for wheel in folder.glob("*.whl"):
        split(wheel)
    perf_analyzer.fetch(folder / PERF_ANALYZER, for_another_machine=True)


def split(file: Path, part_bytes: int = PART_BYTES) -> None:
    """Replaces a file larger than that by its parts, FILE.part00 and so on."""
    if file.stat().st_size <= part_bytes:
        return
    with file.open("rb") as whole:
        for number, part in enumerate(iter(lambda: whole.read(part_bytes), b"")):
            file.with_name(f"{file.name}.part{number:02}").write_bytes(part)
    file.unlink()


def main(argv: Sequence[str] | None = None) -> int:
    """0: they are there, with a line for each file; 1: they cannot be had, with a line that says why."""
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help="default: wheels")
    cli.add_argument("--python", default="3.12", metavar="VERSION", help="of the other machine (default: %(default)s)")
    args = cli.parse_args(argv)
    try:
        fetch(args.output, args.python)
    except (DemoError, OSError) as error:
        print(f"wheels.py: {error}", file=sys.stderr)
        return 1
    files = sorted(path for path in args.output.rglob("*") if path.is_file())
    for file in files:
        print(f"{file.stat().st_size / 2**20:7.1f} MiB  {file.relative_to(args.output)}")
    print(f"{sum(file.stat().st_size for file in files) / 2**20:7.1f} MiB  for Python {args.python} in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
