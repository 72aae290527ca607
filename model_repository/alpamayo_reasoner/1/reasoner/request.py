"""The ensemble's whole request, checked before any model work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from contract import InvalidRequest, Parameters, check_noise, check_shape, parse_parameters
from ego_history import check_history

from reasoner.images import ImageSource, check_image, check_size
from reasoner.settings import ReasonerSettings

DEFAULT_GENERATION_LENGTH = 256

Inputs = Mapping[str, Any]  # numpy arrays or None; image_frames may be a torch tensor on a GPU


@dataclass(frozen=True)
class ReasonerRequest:
    """One driving scene. Images are camera-major, oldest frame first; positions in metres, ego frame at t0."""

    images: Sequence[ImageSource]  # sizes may differ
    ego_history_xyz: npt.NDArray[np.float32]  # (16, 3)
    num_traj_samples: int
    max_generation_length: int
    parameters: Parameters
    noise: npt.NDArray[np.float32] | None = None  # (sets x samples, 64, 2)
    reasoning: list[str] | None = None  # the last samples' thoughts; those before them are generated


def parse_request(inputs: Inputs, parameters_json: str, settings: ReasonerSettings) -> ReasonerRequest:
    """The ensemble's inputs, by their names on the wire, and its parameters.

    Raises:
        InvalidRequest: anything in them breaks the contract or the repository's limits.
    """
    parameters = parse_parameters(parameters_json)
    reasoning = _reasoning(inputs.get("reasoning"))
    samples = _samples(parameters, reasoning, settings)
    length = _generation_length(parameters, settings)
    xyz = _required(inputs, "ego_history_xyz", "(16, 3) metres")
    rot = _required(inputs, "ego_history_rot", "(16, 3, 3) rotations")
    check_history(xyz, rot)
    noise = inputs.get("noise")
    if noise is not None:
        check_noise(noise, parameters.num_traj_sets * samples)
    images = _images(inputs.get("image_frames"), inputs.get("encoded_frames"), settings.max_images)
    return ReasonerRequest(images, xyz, samples, length, parameters, noise, reasoning)


def _required(inputs: Inputs, name: str, what: str) -> npt.NDArray[Any]:
    tensor = inputs.get(name)
    if tensor is None:
        raise InvalidRequest(f"input {name} is missing; wanted FP32 {what}, 10 Hz, in the ego frame at t0")
    return tensor


def _samples(parameters: Parameters, reasoning: list[str] | None, settings: ReasonerSettings) -> int:
    samples, sets = parameters.num_traj_samples, parameters.num_traj_sets
    if reasoning is not None and samples is not None and samples < len(reasoning):
        raise InvalidRequest(
            f"reasoning holds {len(reasoning)} thoughts, num_traj_samples is {samples}; wanted at least as many, or "
            "none: the last samples have these thoughts, those before them their own"
        )
    if samples is None:
        samples = 1 if reasoning is None else len(reasoning)
    if samples * sets > settings.max_trajectories:
        factors = {"num_traj_samples": samples, "num_traj_sets": sets}
        names = sorted(factors, key=lambda name: factors[name], reverse=True)  # the first one counts as what was wrong
        raise InvalidRequest(
            f"{' x '.join(names)} is {' x '.join(str(factors[name]) for name in names)}; this repository was exported "
            f"for at most {settings.max_trajectories} trajectories"
        )
    return samples


def _generation_length(parameters: Parameters, settings: ReasonerSettings) -> int:
    most = settings.max_generation_length
    length = parameters.max_generation_length
    if length is not None and length > most:
        raise InvalidRequest(f"max_generation_length is {length}; this repository was exported for at most {most}")
    return min(DEFAULT_GENERATION_LENGTH, most) if length is None else length


def _reasoning(texts: npt.NDArray[Any] | None) -> list[str] | None:
    if texts is None:
        return None
    check_shape("reasoning", texts, (None,))
    return [_utf8(f"reasoning[{i}]", text) for i, text in enumerate(texts)]


def _utf8(name: str, text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} must be UTF-8: {error}") from None


def _images(frames: Any, encoded: npt.NDArray[Any] | None, most: int) -> Sequence[ImageSource]:
    if (frames is None) == (encoded is None):
        given = "neither" if frames is None else "both"
        raise InvalidRequest(f"give exactly one of image_frames and encoded_frames; got {given}")
    if encoded is not None:
        check_shape("encoded_frames", encoded, (None, None))
        _check_count("encoded_frames", encoded, most)
        return [check_image(f"encoded_frames[{c}, {f}]", encoded[c, f]) for c, f in np.ndindex(*encoded.shape)]
    assert frames is not None
    check_shape("image_frames", frames, (None, None, 3, None, None))
    check_size("image_frames", *frames.shape[-2:])
    _check_count("image_frames", frames, most)
    return list(frames.reshape(-1, *frames.shape[2:]))


def _check_count(name: str, images: Any, most: int) -> None:
    cameras, frames = images.shape[:2]
    if cameras * frames > most:
        raise InvalidRequest(
            f"{name} holds {cameras} cameras x {frames} frames; this repository was exported for at most {most} images"
        )
