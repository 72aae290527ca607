import numpy as np
import pytest
from alpamayo_client import InvalidRequestError, Scene
from odd_files import ODD_FILES


def test_raw_frames_round_trip(tmp_path, frames, history):
    Scene(frames, *history).save(tmp_path / "scene")
    loaded = Scene.load(tmp_path / "scene")  # the name is the caller's
    np.testing.assert_array_equal(loaded.image_frames, frames)
    np.testing.assert_allclose(loaded.ego_history_xyz, history[0], rtol=1e-6)
    np.testing.assert_array_equal(loaded.ego_history_rot, history[1])
    assert loaded.ego_future_xyz is None


def test_encoded_frames_and_future_round_trip(tmp_path, scene, future):
    path = tmp_path / "scene.npz"
    scene.save(path)
    loaded = Scene.load(path)
    assert loaded.image_frames == scene.image_frames
    assert len({len(file) for camera in loaded.image_frames for file in camera}) > 1  # of different lengths
    np.testing.assert_allclose(loaded.ego_future_xyz, future, rtol=1e-6)
    with np.load(path, allow_pickle=False) as archive:
        assert archive["encoded_frames"].dtype == np.uint8
        assert archive["encoded_lengths"].tolist() == [[len(file) for file in camera] for camera in scene.image_frames]


def test_time_and_place_round_trip(tmp_path, frames, history):
    pose = np.eye(4)
    pose[:3, 3] = 500_000.25, 5_400_000.5, 3
    Scene(frames, *history, t0_us=1_700_000_000_000_001, ego_to_world=pose).save(tmp_path / "scene.npz")
    loaded = Scene.load(tmp_path / "scene.npz")
    assert loaded.t0_us == 1_700_000_000_000_001
    np.testing.assert_array_equal(loaded.ego_to_world, pose)


@pytest.mark.parametrize("offsets_ms", [(-500, -250.5, 0), [[-500, -250.5, 0], [-450, 20, 20]]])
def test_frame_times_round_trip(tmp_path, frames, encoded, history, offsets_ms):
    for images in (frames, encoded):
        Scene(images, *history, frame_offsets_ms=offsets_ms).save(tmp_path / "scene.npz")
        loaded = Scene.load(tmp_path / "scene.npz")
        np.testing.assert_array_equal(loaded.frame_offsets_ms, np.broadcast_to(offsets_ms, (2, 3)))


@pytest.mark.parametrize(
    ("offsets_ms", "message"),
    [
        ((-100, 0), r"got shape \(2,\), wanted \(3,\) or \(2, 3\) finite numbers"),
        ([[-200, -100, 0]], r"got shape \(1, 3\), wanted"),
        ((-200, np.nan, 0), "wanted .* finite numbers"),
        (("a", "b", "c"), "wanted .* finite numbers, got"),
        ((0, -100, -200), r"got \[0.0, -100.0, -200.0\], wanted milliseconds from t0, .* the oldest first"),
        ((-3_600_001, -100, 0), "at most an hour"),
    ],
)
def test_frame_times_that_are_none(frames, history, offsets_ms, message):
    with pytest.raises(InvalidRequestError, match=f"frame_offsets_ms: .*{message}"):
        Scene(frames, *history, frame_offsets_ms=offsets_ms)


def test_camera_names_round_trip(tmp_path, frames, history):
    Scene(frames, *history, camera_names=("front", "größer")).save(tmp_path / "scene.npz")
    assert Scene.load(tmp_path / "scene.npz").camera_names == ["front", "größer"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["front"], r"got \['front'\], wanted one for each of 2 cameras"),
        ("ab", "got str, wanted a list of str"),
        ([1, 2], "got list of int, wanted a list of str"),
    ],
)
def test_camera_names_that_are_none(frames, history, names, message):
    with pytest.raises(InvalidRequestError, match=f"camera_names: {message}"):
        Scene(frames, *history, camera_names=names)


def test_a_scene_is_checked(frames, history):
    with pytest.raises(InvalidRequestError, match="ego_history_xyz: the last position"):
        Scene(frames, history[0] + 1, history[1])
    with pytest.raises(InvalidRequestError, match=r"ego_future_xyz: got float64 of shape \(10, 3\), wanted"):
        Scene(frames, *history, np.zeros((10, 3)))
    with pytest.raises(InvalidRequestError, match=r"t0_us: got 0\.5, wanted an integer"):
        Scene(frames, *history, t0_us=0.5)
    with pytest.raises(InvalidRequestError, match=r"ego_to_world: got shape \(3, 3\), wanted \(4, 4\)"):
        Scene(frames, *history, ego_to_world=np.eye(3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ego_history_rot": None}, r"has \['ego_history_xyz', 'image_frames'\] but not 'ego_history_rot'"),
        ({"image_frames": None}, "but not 'encoded_frames'; a scene has .* image_frames"),
        ({"image_frames": np.zeros((2, 2), np.uint8)}, r"image_frames: got uint8 of shape \(2, 2\)"),
        ({"t0_us": np.array([1, 2])}, r"t0_us: got array\(\[1, 2\]\), wanted an integer"),
        ({"frame_offsets_ms": np.arange(3, 0, -1)}, r"frame_offsets_ms: got \[3.0, 2.0, 1.0\], wanted milliseconds"),
        ({"camera_names": np.array(1)}, "camera_names: got int, wanted a list of str"),
        ({"ego_to_world": np.ones((4, 4))}, "ego_to_world: got .* wanted a rotation"),
        ({"image_frames": np.array([[b"a", b"b"]], dtype=np.object_)}, "not a scene of plain arrays"),
        (
            {"image_frames": None, "encoded_frames": np.zeros(9, np.uint8), "encoded_lengths": np.array([[4, 4]])},
            r"encoded_lengths: got \[\[4, 4\]\], wanted lengths that add up to the 9 bytes",
        ),
        (
            {"image_frames": None, "encoded_frames": np.zeros(9), "encoded_lengths": np.array([[4, 5]])},
            r"encoded_frames, encoded_lengths: got float64 \(9,\) and int64 \(1, 2\), wanted uint8",
        ),
    ],
)
def test_files_that_are_no_scene(tmp_path, frames, history, changes, message):
    arrays = {"image_frames": frames, "ego_history_xyz": history[0], "ego_history_rot": history[1], **changes}
    path = tmp_path / "scene.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(InvalidRequestError, match=message) as caught:
        Scene.load(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", ODD_FILES)
def test_files_that_are_no_npz(tmp_path, scene, name):
    path = tmp_path / "scene.npz"
    scene.save(path)
    make, words = ODD_FILES[name]
    path.write_bytes(make(path.read_bytes()))
    with pytest.raises(InvalidRequestError, match=words) as caught:
        Scene.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(FileNotFoundError):
        Scene.load(tmp_path / "nowhere.npz")
    with pytest.raises(IsADirectoryError):
        Scene.load(tmp_path)


def test_a_damaged_file(tmp_path, scene):
    path = tmp_path / "scene.npz"
    scene.save(path)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF  # inside the first array
    path.write_bytes(content)
    with pytest.raises(InvalidRequestError, match="not a scene of plain arrays"):
        Scene.load(path)
