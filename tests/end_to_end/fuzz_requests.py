"""Random requests of the ensemble and of each model: good ones, of which some are then broken in random ways."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from contract import HISTORY_POSES, NO_OWNER, PROMPT_OWNER, WAYPOINTS, Parameters
from hypothesis import strategies as st

from .wire import picture

Draw = Callable[[st.SearchStrategy[Any]], Any]
Arrays = dict[str, np.ndarray]

KV_SHAPE = (4, 2, 2, 16)  # layers, K and V, kv_heads, head_dim of the golden checkpoint


@dataclass(frozen=True)
class FuzzedRequest:
    model: str
    inputs: Arrays
    parameters: dict[str, Any]
    request_id: str = ""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For hypothesis, which would print whole arrays."""
        inputs = (
            f"{name}: {x.dtype}{list(x.shape)} {x.ravel()[:6].tolist()!r:.200}" for name, x in self.inputs.items()
        )
        printer.text(f"{self.model}({', '.join(inputs)}; {self.parameters!r:.500}; {self.request_id!r:.300})")


# Good requests: arrays come from a seed, which is quickly drawn; sizes and counts are drawn one by one.

seeds = st.integers(0, 2**32 - 1)
characters = st.characters(codec="utf-8")  # gRPC takes no others


@st.composite
def histories(draw: Draw) -> Arrays:
    """A turn at constant speed."""
    speed, yaw_rate = draw(st.floats(-5, 40)), draw(st.floats(-1, 1))
    time = np.arange(1 - HISTORY_POSES, 1) / 10
    angle = yaw_rate * time
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(time), np.ones_like(time)
    along = speed * np.cumsum(np.stack([cos, sin, zero], axis=1), axis=0) / 10
    rot = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=1).reshape(-1, 3, 3)
    return {
        "ego_history_xyz": (along - along[-1]).astype(np.float32),
        "ego_history_rot": rot.astype(np.float32),
    }


@st.composite
def frames(draw: Draw) -> Arrays:
    cameras, each, height, width = (draw(st.integers(*of)) for of in ((1, 3), (1, 3), (32, 70), (32, 70)))
    pixels = np.random.default_rng(draw(seeds)).integers(0, 256, (cameras, each, 3, height, width), dtype=np.uint8)
    if draw(st.booleans()):
        return {"image_frames": pixels}
    encoded = np.empty((cameras, each), np.object_)
    for at in np.ndindex(cameras, each):
        encoded[at] = picture(pixels[at], draw(st.sampled_from(["PNG", "JPEG"])))
    return {"encoded_frames": encoded}


@st.composite
def scenes(draw: Draw, model: str) -> FuzzedRequest:
    inputs = draw(histories()) | draw(frames())
    samples, sets = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    parameters = {
        "num_traj_samples": samples,
        "num_traj_sets": sets,
        "temperature": draw(st.floats(0, 5)),
        "top_p": draw(st.floats(0, 1)),
        "top_k": draw(st.integers(0, 9)),
        "seed": draw(st.integers(0, 2**53 - 1)),
    }
    parameters = {name: value for name, value in parameters.items() if name.startswith("num") or draw(st.booleans())}
    if draw(st.booleans()):
        inputs["noise"] = normal(draw, (sets * samples, WAYPOINTS, 2))
    if draw(st.booleans()):
        thoughts = [draw(st.text(max_size=20)).encode(errors="ignore") for _ in range(samples)]
        inputs["reasoning"] = np.array(thoughts, np.object_)
    # What takes long is not what breaks.
    return FuzzedRequest(model, inputs, parameters | {"max_generation_length": 3, "inference_steps": 2})


@st.composite
def packed(draw: Draw) -> FuzzedRequest:
    trajectories, prompt = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    owners = [PROMPT_OWNER] * prompt + draw(st.lists(st.integers(NO_OWNER, trajectories - 1), max_size=20))
    layers, two, heads, size = KV_SHAPE
    inputs = {
        "kv_cache": normal(draw, (layers, two, heads, len(owners), size)),
        "kv_owner": np.array(owners, np.int32),
        "action_owner": np.array([draw(st.integers(0, trajectories - 1)) for _ in range(trajectories)], np.int32),
        "action_position": np.full(trajectories, draw(st.integers(0, 10_000)), np.int32),
        "noise": normal(draw, (trajectories, WAYPOINTS, 2)),
    }
    return FuzzedRequest("alpamayo_denoiser", inputs, {"inference_steps": draw(st.integers(1, 3))})


@st.composite
def actions(draw: Draw) -> FuzzedRequest:
    sets, samples = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    inputs = {
        "normalized_action": normal(draw, (sets * samples, WAYPOINTS, 2)),
        "action_owner": np.tile(np.arange(samples, dtype=np.int32), sets),
    }
    return FuzzedRequest("alpamayo_unicycle", inputs | draw(histories()), {})


@st.composite
def given_up(draw: Draw) -> FuzzedRequest:
    """An id that no request below has."""
    request_id = draw(st.text(characters, min_size=16, max_size=60)) + "given up"
    return FuzzedRequest("alpamayo_cancel", {"request_id": np.array([request_id.encode()], np.object_)}, {})


def normal(draw: Draw, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(draw(seeds)).normal(size=shape).astype(np.float32)


# What breaks them, or not

request_ids = st.one_of(st.text(characters, max_size=64), st.just("x" * 256), st.uuids().map(str))

EXTREMES = [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e19, 1e-45, -0.0, 0, 1, -1, 2, -3, 99, 101, 1e4, 1e6, 2**31 - 1]
TYPES = ["u1", "i1", "i4", "i8", "f2", "f4", "f8", "?", "O"]
names = st.sampled_from([field.name for field in fields(Parameters)])
odd_names = st.text(min_size=1, max_size=30).filter(lambda name: not name.lower().startswith("triton_"))
values = st.one_of(
    st.integers(-3, 300),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.text(max_size=30),
    st.sampled_from(["x" * 100_000, 2**53, 2**31, 0.5, 1e-320]),
)


def cast(array: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        if dtype == "O":
            return np.array([str(x).encode() for x in array.ravel()], np.object_).reshape(array.shape)
        if array.dtype == np.object_:
            return np.zeros(array.shape, dtype)
        return array.astype(dtype)


def resized(draw: Draw, array: np.ndarray) -> np.ndarray:
    axis = draw(st.integers(0, array.ndim - 1))
    size = draw(st.sampled_from([0, 1, array.shape[axis] - 1, array.shape[axis] + 1, 2 * array.shape[axis], 40]))
    return np.take(array, np.arange(max(size, 0)) % max(array.shape[axis], 1), axis=axis) if array.size else array


def shaped(draw: Draw, array: np.ndarray) -> np.ndarray:
    how = draw(st.sampled_from(["deeper", "flat", "transposed", "backwards"]))
    if how == "transposed":
        return np.ascontiguousarray(array.T)
    if how == "backwards":
        return np.ascontiguousarray(array[::-1])
    return array[None] if how == "deeper" else array.reshape(-1)


def with_an_extreme(draw: Draw, array: np.ndarray) -> np.ndarray:
    if array.dtype == np.object_ or not array.size:
        return array
    array, value = array.copy(), np.array(draw(st.sampled_from(EXTREMES)))
    with np.errstate(all="ignore"):
        if draw(st.booleans()):
            array[...] = value.astype(array.dtype)
        else:
            array.flat[draw(st.integers(0, array.size - 1))] = value.astype(array.dtype)
    return array


def with_other_bytes(draw: Draw, array: np.ndarray) -> np.ndarray:
    if array.dtype != np.object_ or not array.size:
        return array
    array, at = array.copy(), draw(st.integers(0, array.size - 1))
    file = bytearray(array.flat[at])
    start = draw(st.integers(0, len(file)))
    end = draw(st.integers(start, min(len(file), start + 20)))
    file[start:end] = draw(st.one_of(st.binary(max_size=20), st.just(bytes(file[start:]))))
    array.flat[at] = bytes(file)
    return array


ON_ARRAYS = (resized, shaped, with_an_extreme, with_other_bytes)


@st.composite
def broken(draw: Draw, good: FuzzedRequest) -> FuzzedRequest:
    if draw(st.integers(0, 3)) == 0:
        name = draw(st.one_of(names, names, names, odd_names))
        return replace(good, parameters=good.parameters | {name: draw(values)})
    if draw(st.integers(0, 7)) == 0 or not good.inputs:
        name = draw(st.sampled_from(["deadline_ns", "arrived_ns"]))
        return replace(good, inputs=good.inputs | {name: np.array([draw(st.integers(-(2**63), 2**63 - 1))])})
    name = draw(st.sampled_from(sorted(good.inputs)))
    how = draw(st.sampled_from(["drop", "rename", "cast", *ON_ARRAYS, *ON_ARRAYS]))
    inputs = dict(good.inputs)
    array = inputs.pop(name)
    if how == "rename":
        inputs[draw(st.sampled_from(["image_frames", "encoded_frames", "noise", "kv_checksum"]))] = array
    elif how == "cast":
        inputs[name] = cast(array, draw(st.sampled_from(TYPES)))
    elif how != "drop":
        inputs[name] = how(draw, array)
    return replace(good, inputs=inputs)


@st.composite
def requests(draw: Draw) -> FuzzedRequest:
    request = draw(st.one_of(scenes("alpamayo"), scenes("alpamayo_reasoner"), packed(), actions(), given_up()))
    for _ in range(draw(st.integers(0, 3))):
        request = draw(broken(request))
    return replace(request, request_id=draw(request_ids))
