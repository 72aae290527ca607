"""A trajectory model of AlpaSim, NVIDIA's closed-loop simulator, that asks an Alpamayo server: see docs/alpasim.md.

AlpaSim finds it as the entry point `alpamayo_server` of the group `alpasim.models`. It needs nothing of AlpaSim: what
the simulator's driver calls and reads is here under the same names, those of its older versions too.

Frame: the rig, which is the ego frame, at t0: the time of the newest camera frame. x forward, y left, z up.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .aio import AsyncAlpamayoClient
from .alpasim_prediction import ModelPrediction, for_alpasim
from .cameras import CAMERAS
from .client import AlpamayoClient
from .errors import InvalidRequestError
from .rig_history import rig_history
from .robot.resize import resize_for_model
from .robot.selection import FRAMES, STEP_US
from .together import together

MAX_OFF_US = 50_000  # of a frame from its time, as in a SceneBuffer
SEEDS = 2**53  # the server's are below
START_S = 60.0
ANSWER_S = 60.0  # a server that hangs must not hang the simulation
ASKED_AT_ONCE = 4  # keeps every stage of the server busy; its queue has 16 places, and other drivers want some

CameraImages: TypeAlias = Mapping[str, Sequence[tuple[int, Any]]]
"""By camera: times in microseconds, and images."""


class AlpaSimModel:
    """What AlpaSim's driver takes for a trajectory model. The model itself runs in an Alpamayo server."""

    MIN_FRAME_HW = None  # the server resizes whatever comes

    def __init__(
        self, url: str, camera_ids: Sequence[str], context_length: int, output_frequency_hz: int, samples: int
    ) -> None:
        """`url`: host:port of the server's gRPC endpoint; `samples`: trajectories, each with its own thought.

        Raises InvalidRequestError.
        """
        unknown = [camera for camera in camera_ids if camera not in CAMERAS]
        if unknown or not camera_ids:
            raise InvalidRequestError(f"use_cameras: got {list(camera_ids)}, wanted some of {', '.join(CAMERAS)}")
        if samples < 1:
            raise InvalidRequestError(f"num_trajectory_samples: got {samples}, wanted 1 or more")
        if output_frequency_hz < 1:
            raise InvalidRequestError(f"output_frequency_hz: got {output_frequency_hz}, wanted 1 or more")
        self.url = url
        self.camera_ids = list(camera_ids)
        self.num_cameras = len(camera_ids)
        self.context_length = context_length
        self.output_frequency_hz = output_frequency_hz
        self._samples = samples
        self._metadata: Mapping[str, Any] = {}

    @classmethod
    def from_config(
        cls,
        model_cfg: Any,
        device: object,
        camera_ids: Sequence[str],
        context_length: int | None,
        output_frequency_hz: int,
    ) -> "AlpaSimModel":
        """As the driver makes it; returns once the server is ready.

        model_cfg: AlpaSim's. `checkpoint_path` is host:port of the server, `num_trajectory_samples` as it says, and of
            `trajectory_selection` there is only ALWAYS_FIRST.
        device: not used, the server has its own.
        context_length: frames of each camera; None: 4.
        output_frequency_hz: of the waypoints.

        Raises InvalidRequestError, and UnavailableError if the server is not ready within 60 s.
        """
        strategy = getattr(getattr(model_cfg, "trajectory_selection", None), "strategy", "ALWAYS_FIRST")
        if strategy != "ALWAYS_FIRST":
            raise InvalidRequestError(f"trajectory_selection.strategy: got {strategy}, wanted ALWAYS_FIRST")
        samples = getattr(model_cfg, "num_trajectory_samples", 1)  # older versions have neither
        model = cls(model_cfg.checkpoint_path, camera_ids, context_length or FRAMES, output_frequency_hz, samples)
        with AlpamayoClient(model.url) as client:
            client.wait_until_ready(START_S)
            model._metadata = client.metadata()
        return model

    def predict(self, prediction_input: Any) -> ModelPrediction:
        """One of `predict_batch`."""
        return self.predict_batch([prediction_input])[0]

    def predict_batch(self, prediction_inputs: Sequence[Any]) -> list[ModelPrediction]:
        """Ask for all of them, a few at a time: the server's stages work on different ones at once.

        prediction_inputs: AlpaSim's. Of each are used
            `camera_images`: by camera, `context_length` pairs of a time in microseconds and an image uint8 RGB
                (height, width, 3), oldest first, each within 50 ms of t0 - 300, -200, -100, 0 ms;
            `ego_pose_history`: PoseAtTime of the rig in any one frame, at whatever times, t0 - 1.5 s .. t0 inside,
                at most 0.2 s apart;
            `inference_seed`: the same seed, the same answer; older versions have none, and get the server's.
            Alpamayo 1 knows no route, and reads the speed off the history.

        Raises InvalidRequestError before anything is sent if an image or a pose is missing or at another time, and what
        `AsyncAlpamayoClient.predict` raises; the others of the batch are then given up. Called by a driver that knows a
        `ModelInputValidationError`, it raises that instead of InvalidRequestError. Not to be called where an asyncio
        loop runs.
        """
        try:
            return asyncio.run(self._predict([self._arguments(it) for it in prediction_inputs]))
        except InvalidRequestError as error:
            raise _for_the_driver(error) from error

    async def _predict(self, arguments: Sequence[Mapping[str, Any]]) -> list[ModelPrediction]:
        places = asyncio.Semaphore(ASKED_AT_ONCE)
        async with AsyncAlpamayoClient(self.url) as client:

            async def ask(one: Mapping[str, Any]) -> ModelPrediction:
                async with places:
                    answer = await client.predict(**one, num_traj_samples=self._samples, timeout_s=ANSWER_S)
                return for_alpasim(answer, self.output_frequency_hz)

            return await together(map(ask, arguments))

    def _arguments(self, prediction_input: Any) -> dict[str, Any]:
        """Of the client's `predict`."""
        images = prediction_input.camera_images
        self._check_counts(images)
        t0_us = max(int(time_us) for camera in images.values() for time_us, _ in camera)
        self._check_times(images, t0_us)
        xyz, rot = rig_history(prediction_input.ego_pose_history, t0_us)
        seed = getattr(prediction_input, "inference_seed", None)
        return {
            "image_frames": self._frames(images),
            "ego_history_xyz": xyz,
            "ego_history_rot": rot,
            "seed": None if seed is None else seed % SEEDS,
        }

    def _check_counts(self, images: CameraImages) -> None:
        counts = {camera: len(frames) for camera, frames in images.items()}
        if counts != dict.fromkeys(self.camera_ids, self.context_length):
            raise InvalidRequestError(
                f"camera_images: got frames of {counts}, wanted {self.context_length} of each of {self.camera_ids}"
            )

    def _check_times(self, images: CameraImages, t0_us: int) -> None:
        wanted_us = np.arange(1 - self.context_length, 1) * STEP_US
        for camera, frames in images.items():
            times_us = np.array([int(time_us) - t0_us for time_us, _ in frames])
            if np.abs(times_us - wanted_us).max() > MAX_OFF_US:
                got_ms, wanted_ms = (", ".join(f"{it / 1000:.0f}" for it in times) for times in (times_us, wanted_us))
                raise InvalidRequestError(
                    f"camera_images: {camera}: got frames at {got_ms} ms after the newest of all cameras, wanted "
                    f"{wanted_ms} ms, within {MAX_OFF_US / 1000:.0f} ms: set frame_interval_us of all cameras and "
                    f"inference.subsample_factor so that their product is {STEP_US}"
                )

    def _frames(self, images: CameraImages) -> NDArray[np.uint8]:
        """(cameras, frames, 3, height, width), as the model sees them: a tenth of the bytes."""
        ordered = sorted(self.camera_ids, key=CAMERAS.index)
        pixels = [[_host_array(image) for _, image in images[camera]] for camera in ordered]
        shapes = {image.shape for camera in pixels for image in camera}
        if len(shapes) > 1:
            raise InvalidRequestError(f"camera_images: got images of {sorted(shapes)}, wanted all of one size")
        return resize_for_model(np.moveaxis(np.array(pixels), -1, 2), self._metadata)


def _for_the_driver(error: InvalidRequestError) -> ValueError:
    """Its own error, if it is there: the one whose words it passes on to the simulator, as FAILED_PRECONDITION."""
    own = getattr(sys.modules.get("alpasim_driver.models.base"), "ModelInputValidationError", None)
    return error if own is None else own(str(error))


def _host_array(image: Any) -> NDArray[Any]:
    try:
        return np.asarray(image)
    except (TypeError, RuntimeError) as error:  # a tensor on a GPU
        raise InvalidRequestError(
            f"camera_images: wanted images in host memory, got {error}: set image_decode_device: cpu"
        ) from error
