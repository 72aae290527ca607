"""What a result was measured on: a number without its machine is none."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch
from alpamayo_export.repository import versions


def describe() -> dict[str, Any]:
    """`gpu` and its `driver` are None where torch sees none; the CUDA that torch was built for is among `versions`."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "driver": _driver() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "versions": versions(),
        "commit": _commit(),
    }


def provenance(result: dict[str, Any]) -> str:
    """The line below a result's table: its machine, its commit and its command."""
    machine = result["machine"]
    where = machine["gpu"] or f"{machine['cpu']}, {machine['cores']} cores"
    return f"{where}; commit {machine['commit']}; `{result['command']}`"


def _cpu() -> str:
    name = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return name[1] if name else platform.machine()


def _driver() -> str:
    """The GPU driver's version."""
    file = Path("/proc/driver/nvidia/version")
    if file.is_file() and (version := driver_version(file.read_text())):
        return version
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True).stdout.split()
    except OSError:  # not there: a container may have the driver's libraries alone
        return "unknown"
    return said[0] if said else "unknown"


def driver_version(text: str) -> str | None:
    """The version in /proc/driver/nvidia/version, such as 580.65.06."""
    match = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", text)
    return match[1] if match else None


def _commit() -> str:
    """The commit that is checked out, with `-dirty` if the tree differs from it: ask before measuring."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        described = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    except OSError:  # no git
        return "unknown"
    return described or "unknown"
