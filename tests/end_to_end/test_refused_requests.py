"""What users get wrong first: refused over the wire as INVALID_ARGUMENT, in words that name it, and nothing breaks.

Every case lists words that the refusal must hold: the input or parameter, what came, what was wanted.
"""

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from .refusals import (
    ACTIONS,
    FRAME,
    GIVEN_UP,
    GOOD,
    JPEG,
    NOISE,
    PACKED,
    PIXELS,
    PNG,
    ROT,
    XYZ,
    changed,
    encoded,
    int32,
    refuse,
    rotated,
)
from .wire import ask, files, picture, tensors, texts

# fmt: off
INPUTS = {
    # Pixels
    "one camera without its axis": (
        {"image_frames": PIXELS[0]}, "image_frames", "[1,3,64,96]", "[-1,-1,3,-1,-1]"),
    "channels last": (
        {"image_frames": np.moveaxis(PIXELS, 2, -1).copy()}, "image_frames", "[1,1,64,96,3]", "[-1,-1,3,-1,-1]"),
    "pixels as floats": (
        {"image_frames": PIXELS.astype(np.float32)}, "image_frames", "FP32", "UINT8"),
    "no camera": (
        {"image_frames": PIXELS[:0]}, "image_frames", "(0, 1, 3, 64, 96)", "at least 1"),
    "no pixels": (
        {"image_frames": PIXELS[..., :0]}, "image_frames", "(1, 1, 3, 64, 0)", "at least 1"),
    "a tiny image": (
        {"image_frames": PIXELS[..., :16, :16].copy()}, "image_frames", "16 x 16", "32 .. 8192"),
    "a sliver": (
        {"image_frames": np.zeros((1, 1, 3, 32, 6432), np.uint8)}, "image_frames", "6432 x 32", "200 : 1"),
    "too many images": (
        {"image_frames": np.zeros((4, 5, 3, 32, 32), np.uint8)}, "image_frames", "4 cameras x 5 frames", "at most 16"),
    "neither pixels nor files": (
        {"image_frames": None}, "image_frames", "encoded_frames", "exactly one", "neither"),
    "both pixels and files": (
        {"encoded_frames": files(PNG)}, "image_frames", "encoded_frames", "exactly one", "both"),
    # Files
    "files without cameras": (
        {"image_frames": None, "encoded_frames": texts(PNG)}, "encoded_frames", "[1]", "[-1,-1]"),
    "a file as bytes of numbers": (
        {"image_frames": None, "encoded_frames": np.frombuffer(PNG, np.uint8)[None]}, "encoded_frames", "UINT8",
        "BYTES"),
    "no files": (
        {"image_frames": None, "encoded_frames": files()}, "encoded_frames", "(1, 0)", "at least 1"),
    "too many files": (encoded(*[PNG] * 17), "encoded_frames", "17 frames", "at most 16"),
    "an empty file": (encoded(b""), "encoded_frames[0, 0]", "0 bytes", "JPEG or PNG"),
    "a file's name": (encoded(PNG, b"front.jpg"), "encoded_frames[0, 1]", "9 bytes", "JPEG or PNG"),
    "garbage behind a JPEG's start": (
        encoded(PNG, PNG, b"\xff\xd8\xff\xe0 no image"), "encoded_frames[0, 2]", "ff d8 ff e0", "JPEG or PNG"),
    "a truncated JPEG": (encoded(JPEG[: len(JPEG) // 2]), "encoded_frames[0, 0]", f"{len(JPEG) // 2} bytes", "JPEG"),
    "a truncated PNG": (encoded(PNG[: len(PNG) // 2]), "encoded_frames[0, 0]", f"{len(PNG) // 2} bytes", "PNG"),
    "a PNG's header": (encoded(PNG[:30]), "encoded_frames[0, 0]", "30 bytes", "PNG"),
    "another format": (encoded(picture(FRAME, "BMP")), "encoded_frames[0, 0]", "42 4d", "JPEG or PNG"),
    "alpha": (encoded(picture(FRAME, mode="RGBA")), "encoded_frames[0, 0]", "RGBA", "without alpha"),
    "grey with alpha": (encoded(picture(FRAME, mode="LA")), "encoded_frames[0, 0]", "LA", "without alpha"),
    "CMYK": (encoded(picture(FRAME, "JPEG", mode="CMYK")), "encoded_frames[0, 0]", "CMYK", "RGB"),
    "16 bits": (encoded(picture(FRAME[0].astype(np.uint16))), "encoded_frames[0, 0]", "16 bits", "8-bit"),
    "a tiny file": (encoded(picture(FRAME[:, :31, :31])), "encoded_frames[0, 0]", "31 x 31", "32 .. 8192"),
    "a huge file": (
        encoded(picture(np.zeros((64, 8193), np.uint8))), "encoded_frames[0, 0]", "8193 x 64", "32 .. 8192"),
    # History
    "no positions": ({"ego_history_xyz": None}, "ego_history_xyz", "missing", "(16, 3) metres"),
    "no rotations": ({"ego_history_rot": None}, "ego_history_rot", "missing"),
    "no history": ({"ego_history_xyz": None, "ego_history_rot": None}, "ego_history_xyz", "missing"),
    "history with the reference's batch axes": (
        {"ego_history_xyz": XYZ[None, None]}, "ego_history_xyz", "[1,1,16,3]", "[16,3]"),
    "15 poses": ({"ego_history_xyz": XYZ[1:]}, "ego_history_xyz", "[15,3]", "[16,3]"),
    "positions in the plane": ({"ego_history_xyz": XYZ[:, :2].copy()}, "ego_history_xyz", "[16,2]", "[16,3]"),
    "no poses": ({"ego_history_xyz": XYZ[:0]}, "ego_history_xyz", "[0,3]", "[16,3]"),
    "headings instead of rotations": ({"ego_history_rot": XYZ}, "ego_history_rot", "[16,3]", "[16,3,3]"),
    "doubles": ({"ego_history_rot": ROT.astype(np.float64)}, "ego_history_rot", "FP64", "FP32"),
    "a position that is not a number": (
        {"ego_history_xyz": changed(XYZ, (3, 1), np.nan)}, "ego_history_xyz", "nan at [3, 1]", "finite"),
    "an infinite position": (
        {"ego_history_xyz": changed(XYZ, (0, 0), -np.inf)}, "ego_history_xyz", "-inf at [0, 0]", "finite"),
    "a rotation that is not a number": (
        {"ego_history_rot": changed(ROT, (15, 2, 2), np.nan)}, "ego_history_rot", "nan at [15, 2, 2]", "finite"),
    "positions in the world frame": (
        {"ego_history_xyz": XYZ + np.float32(400)}, "ego_history_xyz[-1]", "[400. 400. 400.]", "origin", "ego frame"),
    "oldest pose last": (
        {"ego_history_xyz": XYZ[::-1].copy(), "ego_history_rot": ROT[::-1].copy()}, "ego_history_xyz[-1]", "origin"),
    "rotations in the world frame": (
        {"ego_history_rot": rotated(60) @ ROT}, "ego_history_rot[-1]", "0.86", "identity", "ego frame"),
    "positions in millimetres": (
        {"ego_history_xyz": XYZ * 1000}, "ego_history_xyz", "1000 m", "in metres"),
    "transposed rotations": (
        {"ego_history_rot": ROT.transpose(0, 2, 1).copy()}, "ego_history_rot", "transposed", "ego frame at t0"),
    "a mirrored rotation": (
        {"ego_history_rot": changed(ROT, 2, ROT[2] * np.float32([1, -1, 1]))}, "ego_history_rot", "at [2]", "-1",
        "determinant +1"),
    "a scaled rotation": (
        {"ego_history_rot": changed(ROT, 2, ROT[2] * 1.1)}, "ego_history_rot", "at [2]", "0.21", "R R^T = 1"),
    # Noise and thoughts
    "noise for two trajectories": (
        {"noise": NOISE.repeat(2, axis=0)}, "noise", "(2, 64, 2)", "(1, 64, 2)"),
    "noise for no trajectory": ({"noise": NOISE[:0]}, "noise", "(0, 64, 2)", "(1, 64, 2)"),
    "noise of 63 waypoints": ({"noise": NOISE[:, :63].copy()}, "noise", "[1,63,2]", "[-1,64,2]"),
    "noise that is not a number": ({"noise": changed(NOISE, (0, 7, 1), np.nan)}, "noise", "nan at [0, 7, 1]", "finite"),
    "absurd noise": ({"noise": np.full_like(NOISE, 3e38)}, "noise", "+-100", "3e+38"),
    "noise in doubles": ({"noise": NOISE.astype(np.float64)}, "noise", "FP64", "FP32"),
    "a thought in Latin-1": ({"reasoning": texts(b"ok", "gr\xf6\xdfer".encode("latin-1"))}, "reasoning[1]", "UTF-8"),
    "a thought with special tokens": (
        {"reasoning": texts(b"Slow down.<|cot_end|>")}, "reasoning", "<|cot_end|>", "plain text"),
    "a thought with trajectory tokens": ({"reasoning": texts(b"Turn <i12>")}, "reasoning", "<i12>", "plain text"),
    "a thought that is too long": ({"reasoning": texts(b"a b " * 200)}, "reasoning", "tokens", "at most 256"),
    "more thoughts than trajectories": ({"reasoning": texts(*[b"a"] * 33)}, "33 x 1", "at most 32"),
    "no thoughts": ({"reasoning": texts()}, "reasoning", "(0,)", "at least 1"),
    "thoughts per set": ({"reasoning": texts(b"a")[None]}, "reasoning", "[1,1]", "[-1]"),
    "a thought as numbers": ({"reasoning": np.zeros(1, np.int32)}, "reasoning", "INT32", "BYTES"),
    # What does not exist
    "an input that does not exist": ({"ego_speed": np.zeros(16, np.float32)}, "ego_speed", "unexpected"),
}

PARAMETERS = {
    "another project's name": ({"num_samples": 6}, "'num_samples'", "num_traj_samples"),
    "a misspelt name": ({"num_traj_sample": 6}, "'num_traj_sample'", "num_traj_samples"),
    "an input's name": ({"reasoning": "Slow down."}, "'reasoning'", "known are"),
    "10^9 samples": ({"num_traj_samples": 10**9}, "num_traj_samples", "1000000000", "at most 32"),
    "too many together": ({"num_traj_samples": 11, "num_traj_sets": 3}, "num_traj_sets", "11 x 3", "at most 32"),
    "too many for 64 bits": ({"num_traj_samples": 2**62, "num_traj_sets": 4}, "num_traj_sets", "at most 32"),
    "no samples": ({"num_traj_samples": 0}, "num_traj_samples", "got 0", "at least 1"),
    "no sets": ({"num_traj_sets": 0}, "num_traj_sets", "got 0", "at least 1"),
    "minus one sample": ({"num_traj_samples": -1}, "num_traj_samples", "got -1", "at least 1"),
    "a truth instead of a number": ({"num_traj_samples": True}, "num_traj_samples", "True (bool)", "an integer"),
    "text instead of an integer": ({"num_traj_samples": "6"}, "num_traj_samples", "'6' (str)", "an integer"),
    "a fraction instead of an integer": ({"top_k": 6.0}, "top_k", "6.0 (float)", "an integer"),
    "text instead of a number": ({"temperature": "0.6"}, "temperature", "'0.6' (str)", "a number"),
    "a temperature that is not a number": ({"temperature": float("nan")}, "temperature", "nan", "at least 0"),
    "an infinite temperature": ({"temperature": float("inf")}, "temperature", "inf", "at least 0"),
    "a negative temperature": ({"temperature": -0.1}, "temperature", "-0.1", "at least 0"),
    "top_p in percent": ({"top_p": 98}, "top_p", "98", "0 .. 1"),
    "minus one for no limit": ({"top_k": -1}, "top_k", "-1", "at least 0"),
    "no tokens": ({"max_generation_length": 0}, "max_generation_length", "got 0", "at least 1"),
    "too many tokens": ({"max_generation_length": 257}, "max_generation_length", "257", "at most 256"),
    "no steps": ({"inference_steps": 0}, "inference_steps", "got 0", "1 .. 100"),
    "too many steps": ({"inference_steps": 101}, "inference_steps", "101", "1 .. 100"),
    "a negative seed": ({"seed": -1}, "seed", "-1", "0 .. 9007199254740991"),
    "a seed that JSON cannot carry": ({"seed": 2**53}, "seed", "9007199254740992", "0 .. 9007199254740991"),
    "a negative deadline": ({"deadline_ms": -5}, "deadline_ms", "-5", "at least 0"),
    "a deadline in words": ({"deadline_ms": "5s"}, "deadline_ms", "'5s' (str)", "a number"),
    "a deadline that is not a number": ({"deadline_ms": float("nan")}, "deadline_ms", "nan", "at least 0"),
}
# fmt: on


@pytest.mark.parametrize("name", INPUTS)
def test_input(triton, assert_still_serving, name):
    inputs, *words = INPUTS[name]
    refuse(triton, words, GOOD | inputs)
    assert_still_serving()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter(triton, assert_still_serving, name):
    parameters, *words = PARAMETERS[name]
    refuse(triton, words, GOOD, parameters)
    assert_still_serving()


def test_thoughts_and_samples_that_disagree(triton, assert_still_serving):
    words = ("reasoning", "2 thoughts", "num_traj_samples", "1")
    refuse(triton, words, GOOD | {"reasoning": texts(b"a", b"b")}, {"num_traj_samples": 1})
    assert_still_serving()


def test_all_is_wrong_at_once(triton, assert_still_serving):
    refuse(triton, ["ego_history_xyz", "missing"], {"reasoning": texts(b"")})
    assert_still_serving()


def test_an_output_that_does_not_exist(triton, assert_still_serving):
    with pytest.raises(InferenceServerException, match="trajectory") as refusal:
        triton.infer("alpamayo", tensors(GOOD), outputs=[grpcclient.InferRequestedOutput("trajectory")])
    assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert_still_serving()


# fmt: off
RAW_BYTES = {  # what a client of one's own gets wrong: shape, type and bytes that disagree
    "ego_history_xyz": ([16, 3], "FP32", b"1234", "Expected 192, got 4"),
    "image_frames": ([2**40, 2**40, 3, 64, 96], "UINT8", PIXELS.tobytes(), "image_frames"),
    "encoded_frames": ([1, 1], "BYTES", b"\xff\xff\xff\xff1234", "expecting string of length 4294967295"),
    "reasoning": ([2], "BYTES", b"\x01\x00\x00\x00a", "expected 2 string elements"),
}
# fmt: on


@pytest.mark.parametrize("name", RAW_BYTES)
def test_bytes_that_do_not_fit_their_shape(triton, assert_still_serving, name):
    shape, datatype, content, words = RAW_BYTES[name]
    bad = grpcclient.InferInput(name, shape, datatype)
    bad._raw_content = content
    good = {other: array for other, array in GOOD.items() if other != name}
    with pytest.raises(InferenceServerException, match=words) as refusal:
        triton.infer("alpamayo", [bad, *tensors(good)])
    assert refusal.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert name in refusal.value.message()
    assert_still_serving()


# The stages, called directly


KV = PACKED["kv_cache"]

# fmt: off
DENOISER = {
    "fewer rows than owners": ({"kv_cache": KV[:, :, :, 1:].copy()}, "kv_cache", "39", "kv_owner", "40"),
    "another network's layers": ({"kv_cache": KV[1:]}, "kv_cache", "[3,2,2,40,16]", "[4,2,2,-1,16]"),
    "another precision": ({"kv_cache": KV.astype(np.float16)}, "kv_cache", "FP16", "FP32"),
    "a cache that is not a number": ({"kv_cache": changed(KV, (1, 1, 1, 7, 3), np.nan)}, "kv_cache", "finite"),
    "no cache": ({"kv_cache": None}, "kv_cache", "missing"),
    "no cache, but a deadline": ({"kv_cache": None, "deadline_ns": np.array([2**62])}, "kv_cache", "missing"),
    "no rows": ({"kv_cache": KV[:, :, :, :0], "kv_owner": int32()}, "kv_owner", "got 0"),
    "more rows than ever": (
        {"kv_cache": np.zeros((4, 2, 2, 20_000, 16), np.float32), "kv_owner": np.full(20_000, -1, np.int32)},
        "kv_owner", "20000", "the repository's limit"),
    "an owner below nobody": ({"kv_owner": changed(PACKED["kv_owner"], 3, -3)}, "kv_owner", "-3", "-2 .. 31"),
    "no prompt": ({"kv_owner": int32(*[0] * 20, *[1] * 20)}, "kv_owner", "prompt", "-1"),
    "a trajectory of no thought": ({"action_owner": int32(0, 7)}, "action_owner", "thought 7", "up to 1"),
    "a trajectory of the prompt": ({"action_owner": int32(0, -1)}, "action_owner", "-1", "0 or more"),
    "owners as long integers": ({"action_owner": np.array([0, 1])}, "action_owner", "INT64", "INT32"),
    "no trajectories": (
        {"action_owner": int32(), "action_position": int32(), "noise": np.zeros((0, 64, 2), np.float32)},
        "action_owner", "got 0"),
    "too many trajectories": (
        {"action_owner": int32(*[0] * 33), "action_position": int32(*[35] * 33),
         "noise": np.zeros((33, 64, 2), np.float32)}, "action_owner", "33", "1 .. 32"),
    "fewer positions": ({"action_position": int32(35)}, "action_position", "(1,)", "(2,)"),
    "a negative position": ({"action_position": int32(35, -1)}, "action_position", "-1 .. 35", "0 .. "),
    "an absurd position": ({"action_position": int32(35, 2**30)}, "action_position", "1073741824", "0 .. "),
    "more noise": ({"noise": np.zeros((3, 64, 2), np.float32)}, "noise", "(3, 64, 2)", "(2, 64, 2)"),
    "noise that is not a number": ({"noise": np.full((2, 64, 2), np.nan, np.float32)}, "noise", "finite"),
}

UNICYCLE = {
    "samples before sets": ({"action_owner": int32(0, 0, 1, 1, 2, 2)}, "action_owner", "[0, 0, 1, 1, 2, 2]", "set"),
    "a sample left out": ({"action_owner": int32(0, 2, 4, 0, 2, 4)}, "action_owner", "[0, 2, 4, 0, 2, 4]", "set"),
    "a set that is not whole": ({"action_owner": int32(0, 1, 2, 3, 0, 1)}, "action_owner", "[0, 1, 2, 3, 0, 1]"),
    "nobody's": ({"action_owner": int32(*[-1] * 6)}, "action_owner", "[-1, -1, -1, -1, -1, -1]"),
    "a huge owner": ({"action_owner": int32(0, 1, 2, 3, 4, 2**31 - 1)}, "action_owner", "2147483647"),
    "fewer owners": ({"action_owner": int32(0, 1, 2)}, "action_owner", "(3,)", "6"),
    "no actions": (
        {"normalized_action": np.zeros((0, 64, 2), np.float32), "action_owner": int32()}, "normalized_action",
        "(0, 64, 2)", "at least 1"),
    "actions that are not numbers": (
        {"normalized_action": changed(ACTIONS["normalized_action"], (4, 2, 0), np.inf)}, "normalized_action",
        "inf at [4, 2, 0]", "finite"),
    "actions to the moon": (
        {"normalized_action": np.full((6, 64, 2), 1e9, np.float32)}, "normalized_action", "1e+09", "a few units"),
    "positions in the world frame": ({"ego_history_xyz": XYZ + np.float32(1)}, "ego_history_xyz[-1]", "origin"),
    "no positions": ({"ego_history_xyz": None}, "ego_history_xyz", "missing"),
}

CANCEL = {
    "no id": ({"request_id": None}, "expected 1 inputs but got 0", "alpamayo_cancel"),
    "two ids": ({"request_id": GIVEN_UP["request_id"].repeat(2)}, "request_id", "[2]", "[1]"),
    "no id in it": ({"request_id": texts()}, "request_id", "[0]", "[1]"),
    "an id in a table": ({"request_id": GIVEN_UP["request_id"][None]}, "request_id", "[1,1]", "[1]"),
    "a number for an id": ({"request_id": int32(17)}, "request_id", "INT32", "BYTES"),
    "an empty id": ({"request_id": texts(b"")}, "request_id", "''", "at least 16 characters", "such as a UUID"),
    "an id that others might have": (
        {"request_id": texts(b"15 characters..")}, "request_id", "'15 characters..'", "at least 16 characters"),
    "an id of few characters": ({"request_id": texts("ö…".encode() * 7)}, "request_id", "at least 16"),
    "an id in Latin-1": (
        {"request_id": texts("eine größere Fahrt".encode("latin-1"))}, "request_id", r"gr\xf6\xdfere", "UTF-8"),
    "half a character at its end": ({"request_id": texts(b"0123456789abcdef\xc3")}, "request_id", r"\xc3", "UTF-8"),
    "an id with a NUL": ({"request_id": texts(b"0123456789abcdef\0ghi")}, "request_id", r"f\x00ghi", "no NUL"),
    "a long id": ({"request_id": texts(b"x" * 257)}, "request_id", "257", "at most 256 bytes"),
    "a long id of few characters": ({"request_id": texts("ö".encode() * 129)}, "request_id", "258", "at most 256"),
    "another model's input": ({"ego_history_xyz": XYZ}, "expected 1 inputs but got 2", "alpamayo_cancel"),
}
# fmt: on


@pytest.mark.parametrize("name", DENOISER)
def test_denoiser_input(triton, assert_still_serving, name):
    inputs, *words = DENOISER[name]
    refuse(triton, words, PACKED | inputs, model="alpamayo_denoiser")
    assert_still_serving()


@pytest.mark.parametrize("name", UNICYCLE)
def test_unicycle_input(triton, assert_still_serving, name):
    inputs, *words = UNICYCLE[name]
    refuse(triton, words, ACTIONS | inputs, model="alpamayo_unicycle")
    assert_still_serving()


@pytest.mark.parametrize("name", CANCEL)
def test_id_to_cancel(triton, name):
    inputs, *words = CANCEL[name]
    refuse(triton, words, GIVEN_UP | inputs, model="alpamayo_cancel")
    assert ask(triton, GIVEN_UP, model="alpamayo_cancel")["noted"].tolist() == [True]


def test_what_these_cases_change_is_good(triton):
    assert ask(triton, GOOD, {"max_generation_length": 2})["pred_xyz"].shape == (1, 1, 1, 64, 3)
    assert ask(triton, PACKED, model="alpamayo_denoiser")["normalized_action"].shape == (2, 64, 2)
    assert ask(triton, ACTIONS, model="alpamayo_unicycle")["pred_xyz"].shape == (1, 2, 3, 64, 3)
    for request_id in (*GIVEN_UP["request_id"], b"x" * 256, "ö".encode() * 128):
        assert ask(triton, {"request_id": texts(request_id)}, model="alpamayo_cancel")["noted"].tolist() == [True]


@pytest.mark.parametrize(
    ("model", "inputs"),
    [("alpamayo_reasoner", GOOD), ("alpamayo_denoiser", PACKED), ("alpamayo_cancel", GIVEN_UP)],
)
def test_parameter_of_one_model(triton, assert_still_serving, model, inputs):
    refuse(triton, ["'steps'", "inference_steps"], inputs, {"steps": 5}, model=model)
    refuse(triton, ["inference_steps", "2.5 (float)", "an integer"], inputs, {"inference_steps": 2.5}, model=model)
    assert_still_serving()
