"""Clips of NVIDIA's PhysicalAI-Autonomous-Vehicles dataset, read by its own devkit (extra `physical-ai-av`).

A scene is what the reference makes of a clip: four cameras at t0 - 0.3 s .. t0, each frame the newest one not after
its time; poses interpolated at 10 Hz, moved into the ego frame at t0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cameras import REFERENCE_CAMERAS
from ..checks import HISTORY_STEPS, WAYPOINTS
from ..errors import InvalidRequestError
from ..extras import extra
from ..robot.selection import FRAME_OFFSETS_US, STEP_US
from ..scene import Scene
from .source import SceneKey, Source


class PhysicalAiAv(Source):
    """Clips at given times. What is not in the Hugging Face cache is streamed from the hub."""

    def __init__(
        self,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        clip_ids: Sequence[str] = (),
        t0s_us: Sequence[int] = (),
    ) -> None:
        """`revision`: of the dataset; None: the newest, which only the hub knows. `cache_dir`: None: the usual one.

        `t0s_us`: microseconds of the clip's clock. Raises ImportError without the devkit, InvalidRequestError if the
        dataset's index cannot be read.
        """
        try:
            from physical_ai_av import PhysicalAIAVDatasetInterface
        except ImportError as error:
            raise ImportError(
                f"clips need the dataset's devkit ({error}): {extra('physical-ai-av')}, with Python 3.11 or newer"
            ) from error
        self._cache_dir = None if cache_dir is None else str(Path(cache_dir).resolve())
        self._keys = list(dict.fromkeys(SceneKey(clip_id, t0_us) for clip_id in clip_ids for t0_us in t0s_us))
        try:
            self._dataset = PhysicalAIAVDatasetInterface(revision, cache_dir=self._cache_dir)
        except Exception as error:  # the hub's client has its own kinds, and has changed them with every version
            raise InvalidRequestError(
                f"the dataset PhysicalAI-Autonomous-Vehicles cannot be opened ({error}): log in (hf auth login) as "
                "someone who has accepted its licence; without a network, set HF_HUB_OFFLINE=1 and give the --revision "
                "that is in the cache, and --cache-dir if that is not Hugging Face's usual one"
            ) from error

    @property
    def identity(self) -> Mapping[str, str | None]:
        """See Source."""
        return {"revision": self._dataset.revision, "cache_dir": self._cache_dir}

    @property
    def keys(self) -> list[SceneKey]:
        """See Source."""
        return self._keys

    def fingerprint(self, key: SceneKey) -> str:
        """See Source: a commit of the dataset never changes."""
        revision: str = self._dataset.revision
        return revision

    def load(self, key: SceneKey) -> Scene:
        """See Source."""
        assert key.t0_us is not None
        try:
            poses = self._poses(key.scene_id, key.t0_us)
            frames, offsets_ms = self._frames(key.scene_id, key.t0_us)
            return Scene(frames, *poses, frame_offsets_ms=offsets_ms, camera_names=REFERENCE_CAMERAS)
        except Exception as error:  # a damaged clip fails in as many ways as there are libraries that read it
            raise InvalidRequestError(f"clip {key}: {type(error).__name__}: {error}") from error

    def _frames(self, clip_id: str, t0_us: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """(4, 4, 3, height, width), as they are decoded, and (4, 4) when they were taken: milliseconds from t0."""
        cameras, offsets_ms = [], []
        for camera in REFERENCE_CAMERAS:
            video = self._dataset.get_clip_feature(clip_id, camera, maybe_stream=True)
            images, times_us = video.decode_images_from_timestamps(t0_us + FRAME_OFFSETS_US)
            video.close()
            cameras.append(images.transpose(0, 3, 1, 2))
            offsets_ms.append((times_us - t0_us) / 1000)
        return np.stack(cameras), np.stack(offsets_ms)

    def _poses(self, clip_id: str, t0_us: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """`ego_history_xyz`, `ego_history_rot`, `ego_future_xyz` of a Scene."""
        egomotion = self._dataset.get_clip_feature(clip_id, "egomotion", maybe_stream=True)
        times_us = t0_us + STEP_US * np.arange(1 - HISTORY_STEPS, WAYPOINTS + 1)
        first_us, last_us = egomotion.time_range
        if times_us[0] < first_us or times_us[-1] > last_us:
            raise InvalidRequestError(
                f"its poses reach from {first_us / 1e6:g} to {last_us / 1e6:g} s, wanted {times_us[0] / 1e6:g} to "
                f"{times_us[-1] / 1e6:g} s, 1.5 s before t0 to 6.4 s after it: choose another --t0-s"
            )
        pose = egomotion(times_us).pose
        now = HISTORY_STEPS - 1
        world_to_ego = pose.rotation[now].inv()
        xyz = world_to_ego.apply(pose.translation - pose.translation[now])
        rot = (world_to_ego * pose.rotation[:HISTORY_STEPS]).as_matrix()
        return xyz[:HISTORY_STEPS], rot, xyz[HISTORY_STEPS:]
