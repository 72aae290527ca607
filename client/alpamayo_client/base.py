"""What both clients share: the call, up to the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from numpy.typing import ArrayLike

from .checks import EncodedFrames
from .connection import Headers, Tls, check_url
from .errors import InvalidRequestError
from .request import Request, build_request
from .scene import Scene
from .shared_memory import Kind, SharedFrames

Answer = TypeVar("Answer")


class BaseClient(ABC, Generic[Answer]):
    """`predict`, up to the network; `Answer` is a Prediction, or what is awaited for one."""

    def __init__(
        self,
        url: str,
        tls: Tls | None = None,
        shared_memory: Kind | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Connects with the first call. Raises InvalidRequestError.

        url: host:port of the server's gRPC endpoint.
        tls: without it, the connection is not encrypted.
        shared_memory: how pixels reach a server on this machine without passing through gRPC: "system" through
            /dev/shm, "cuda" through GPU 0 (extra `cuda`). Encoded images go through gRPC all the same.
        headers: sent along with every call, such as {"triton-grpc-protocol-key": "the secret"}.
        """
        self.url = check_url(url)
        self._headers = Headers(headers or {})
        self._shared = None if shared_memory is None else SharedFrames(shared_memory)
        self._closed = False
        self._open(tls)

    @abstractmethod
    def _open(self, tls: Tls | None) -> None:
        """Triton's client, with the headers, and what is under way: nothing yet."""

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidRequestError(f"this client of {self.url} is closed: make another")

    def predict(
        self,
        image_frames: ArrayLike | EncodedFrames | Scene,
        ego_history_xyz: ArrayLike | None = None,
        ego_history_rot: ArrayLike | None = None,
        *,
        num_traj_samples: int | None = None,
        num_traj_sets: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        max_generation_length: int | None = None,
        inference_steps: int | None = None,
        seed: int | None = None,
        noise: ArrayLike | None = None,
        reasoning: Sequence[str] | None = None,
        timeout_s: float | None = None,
        priority: int | None = None,
    ) -> Answer:
        """Ask for `num_traj_sets` x `num_traj_samples` trajectories of one scene.

        Frame: the ego frame at t0 (the newest image and the last pose); x forward, y left, z up.

        image_frames: uint8 RGB (cameras, frames, 3, height, width), cameras in ascending index, oldest frame first; or
            JPEG or PNG files as nested lists of `bytes`, [camera][frame]. Or a Scene, which has the history too: its
            `t0_us` and `ego_to_world`, if known, become the prediction's. With `shared_memory="cuda"`, pixels may be an
            array on the GPU, of any library that speaks DLPack.
        ego_history_xyz: (16, 3) metres, at 10 Hz, the last at t0: the origin. A leading (1, 1) is allowed.
        ego_history_rot: (16, 3, 3), from the ego frame at each pose to that at t0: the last is the identity.
        noise: (sets x samples, 64, 2), what the denoiser starts from; trajectory = set x num_traj_samples + sample.
        reasoning: thoughts that are given, one per sample. With a larger `num_traj_samples` they are the last samples',
            and those before them are generated, just as they would be without.
        timeout_s: seconds for the whole call; the server stops working on it too, within a token or an Euler step.
        priority: 1 goes before 2, the default, and 2 before 3, when requests have to wait at the server.

        None leaves a parameter to the server: num_traj_samples=1 (thoughts, each with a trajectory),
        num_traj_sets=1 (trajectories per thought), temperature=0.6 (0: greedy), top_p=0.98, top_k=0 (no limit),
        max_generation_length=256 (tokens, or the repository's limit if lower), inference_steps=10 (Euler steps),
        a seed drawn by the server and returned.

        Raises InvalidRequestError (before anything is sent, or from the server), UnavailableError, TimedOutError,
        ServerError.
        """
        parameters = {
            "num_traj_samples": num_traj_samples,
            "num_traj_sets": num_traj_sets,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "max_generation_length": max_generation_length,
            "inference_steps": inference_steps,
            "seed": seed,
        }
        scene = image_frames if isinstance(image_frames, Scene) else None
        frames, xyz, rot = _parts(image_frames, ego_history_xyz, ego_history_rot)
        gpu = self._shared is not None and self._shared.kind == "cuda"
        request = build_request(frames, xyz, rot, parameters, noise, reasoning, timeout_s, priority, gpu)
        return self._infer(request, scene)

    @abstractmethod
    def _infer(self, request: Request, scene: Scene | None) -> Answer: ...


def _parts(
    frames: ArrayLike | EncodedFrames | Scene, xyz: ArrayLike | None, rot: ArrayLike | None
) -> tuple[ArrayLike | EncodedFrames, ArrayLike, ArrayLike]:
    """A scene's frames and history, or the ones that were given."""
    if isinstance(frames, Scene):
        if xyz is not None or rot is not None:
            raise InvalidRequestError("ego_history_xyz, ego_history_rot: got them beside a Scene, which has its own")
        return frames.image_frames, frames.ego_history_xyz, frames.ego_history_rot
    if xyz is None or rot is None:
        raise InvalidRequestError("ego_history_xyz, ego_history_rot: got None, wanted both with frames, or a Scene")
    return frames, xyz, rot
