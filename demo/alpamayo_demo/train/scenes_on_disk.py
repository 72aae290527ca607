"""Rendered scenes, kept on disk: rendering one takes longer than a training step takes over it."""

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from alpamayo_demo.errors import DemoError
from alpamayo_demo.road import scenes as road_scenes
from alpamayo_demo.road.imagined import imagined_action
from alpamayo_demo.road.scenes import Moment, Split, moment, observe
from alpamayo_demo.road.situations import Situation

ROAD = Path(road_scenes.__file__).parent
ALTERNATIVES = 3
CHUNK = 12 * len(Situation)
_FRAMES = ((2, 2, 3, 96, 160), np.uint8)
Shapes = dict[str, tuple[tuple[int, ...], type]]
SCENE: Shapes = {
    "image_frames": _FRAMES,
    "ego_history_xyz": ((16, 3), np.float32),
    "action": ((64, 2), np.float32),
    "situation": ((), np.int64),
    "other_action": ((ALTERNATIVES, 64, 2), np.float32),
    "other_situation": ((ALTERNATIVES,), np.int64),
}
PRACTISED: Shapes = {**SCENE, "missed_by": ((), np.float32)}
Arrays = dict[str, NDArray[Any]]


def rendered_scenes(folder: Path, count: int, workers: int) -> Arrays:
    """The first `count` training scenes, every situation in turn; rendered now if they are not in `folder` already.

    Raises DemoError for a folder with scenes of other code, or a damaged one.

    `other_situation` are thoughts that are not the scene's, and `other_action` what the driver does who has them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    version, stamp = version_of(ROAD, Path(__file__)), folder / "version"
    if any(folder.glob("*.npz")) and (stamp.read_bytes() if stamp.exists() else b"") != version.encode():
        raise DemoError(f"{folder}: rendered by another version of the road; remove it to render anew")
    stamp.write_text(version)
    chunks = -(-count // CHUNK)
    missing = [i for i in range(chunks) if not (folder / f"{i:05}.npz").exists()]
    with ProcessPoolExecutor(workers, initializer=leave_interrupts_to_the_parent) as pool:
        jobs = pool.map(_render_chunk, missing, [folder] * len(missing))
        for _ in tqdm(jobs, total=len(missing), desc="rendering scenes", unit="chunk", disable=not missing):
            pass
    arrays: Arrays = {name: np.empty((count, *shape), dtype) for name, (shape, dtype) in SCENE.items()}
    for i in tqdm(range(chunks), desc="loading scenes", unit="chunk"):
        chunk = load(folder / f"{i:05}.npz", SCENE)
        for name, array in arrays.items():
            part = array[i * CHUNK : (i + 1) * CHUNK]
            part[:] = chunk[name][: len(part)]
    return arrays


def save(path: Path, scenes: list[Arrays], shapes: Shapes) -> None:
    """As one file, which is there whole or not at all."""
    arrays: Arrays = {name: np.array([scene[name] for scene in scenes], dtype) for name, (_, dtype) in shapes.items()}
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.rename(path)


def load(path: Path, shapes: Shapes) -> Arrays:
    """Raises DemoError for a damaged file."""
    try:
        with np.load(path) as arrays:
            return {name: arrays[name].reshape(-1, *shape) for name, (shape, _) in shapes.items()}
    except (BadZipFile, ValueError, TypeError, AttributeError, KeyError, EOFError) as error:
        raise DemoError(f"{path}: damaged ({error}); remove it to render it anew") from error


def version_of(*paths: Path) -> str:
    """A hash of the Python files at `paths`, those in folders included."""
    files = [file for path in paths for file in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _render_chunk(chunk: int, folder: Path) -> None:
    save(folder / f"{chunk:05}.npz", list(_scenes(chunk)), SCENE)


def _scenes(chunk: int) -> Iterator[Arrays]:
    situations = list(Situation)
    for i in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        seed, index = divmod(i, len(situations))
        yield arrays_of(moment(Split.TRAIN, seed, situations[index]), i)


def arrays_of(moment: Moment, seed: int) -> Arrays:
    """Of one scene; other situations are drawn by the seed."""
    situations = list(Situation)
    index = situations.index(moment.situation)
    scene = observe(moment)
    random = np.random.default_rng([seed])
    others = random.choice([j for j in range(len(situations)) if j != index], ALTERNATIVES, replace=False)
    return {
        "image_frames": scene.image_frames,
        "ego_history_xyz": scene.ego_history_xyz,
        "action": scene.action,
        "situation": np.array(index),
        "other_action": np.array([imagined_action(moment, situations[j]) for j in others]),
        "other_situation": others,
    }
