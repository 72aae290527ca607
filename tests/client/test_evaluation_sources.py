"""Scenes from a folder, and from the dataset's own files by its own devkit, without a network."""

import os
import subprocess
import sys
from dataclasses import replace

import devkit_dataset as dataset
import numpy as np
import pytest
from alpamayo_client import InvalidRequestError, Scene
from alpamayo_client.evaluation.npz_folder import NpzFolder
from alpamayo_client.evaluation.physical_ai_av import PhysicalAiAv
from alpamayo_client.evaluation.source import SceneKey, open_source


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    dataset.write_dataset(folder, ["one", "two"])
    return folder


@pytest.fixture(autouse=True)
def offline():
    with dataset.offline():
        yield


def clips(cache, *clip_ids, t0_us=5_100_000):
    return PhysicalAiAv(dataset.REVISION, cache, clip_ids, [t0_us])


def test_frames_of_a_clip(cache):
    source = clips(cache, "two")
    frames = source.load(*source.keys).image_frames
    assert frames.shape == (4, 4, 3, dataset.HEIGHT, dataset.WIDTH)
    assert frames.dtype == np.uint8
    assert source.load(*source.keys).camera_names == dataset.CAMERAS
    # 30 frames a second: at 4.8, 4.9, 5.0 and 5.1 s
    assert [[dataset.spelled(frame) for frame in camera] for camera in frames] == [
        [(camera, number) for number in (144, 147, 150, 153)] for camera in range(4)
    ]
    written = dataset.picture(0, 144)
    np.testing.assert_allclose(frames[0, 0], np.broadcast_to(written, (3, *written.shape)), atol=24)


def test_between_two_frames_the_older_one_counts(cache):
    source = clips(cache, "one", t0_us=5_132_000)
    scene = source.load(*source.keys)
    assert [dataset.spelled(frame)[1] for frame in scene.image_frames[0]] == [144, 147, 150, 153]
    np.testing.assert_array_equal(scene.frame_offsets_ms, [[-332, -232, -132, -32]] * 4)


@pytest.mark.parametrize("t0_us", [5_100_000, 1_537_000])
def test_poses_of_a_clip(cache, t0_us):
    """A circle is the same from each of its points; between recorded poses they are interpolated."""
    source = clips(cache, "one", t0_us=t0_us)
    scene = source.load(*source.keys)
    history, yaw = dataset.circle(0.1 * np.arange(-15, 1))
    np.testing.assert_allclose(scene.ego_history_xyz, history, atol=1e-6)
    rotation = dataset.Rotation.from_euler("z", yaw[:, None]).as_matrix()
    np.testing.assert_allclose(scene.ego_history_rot, rotation, atol=1e-6)
    np.testing.assert_allclose(scene.ego_future_xyz, dataset.circle(0.1 * np.arange(1, 65))[0], atol=1e-6)


def test_every_clip_at_every_time(cache):
    source = PhysicalAiAv(dataset.REVISION, cache, ["two", "one", "two"], [5_100_000, 6_000_000, 5_100_000])
    assert source.keys == [SceneKey(clip, t0_us) for clip in ("two", "one") for t0_us in (5_100_000, 6_000_000)]
    assert source.fingerprint(source.keys[3]) == dataset.REVISION
    again = open_source(source.identity).load(source.keys[3])
    np.testing.assert_array_equal(again.image_frames, source.load(source.keys[3]).image_frames)


@pytest.mark.parametrize(
    ("clip_id", "t0_us", "words"),
    [
        ("three", 5_100_000, "clip three at 5.1 s: KeyError"),
        ("one", 1_400_000, "from 0 to 13.95 s, wanted -0.1 to 7.8 s"),
        ("one", 7_600_000, "from 0 to 13.95 s, wanted 6.1 to 14 s"),
    ],
    ids=["unknown", "too early", "too late"],
)
def test_a_clip_that_has_no_scene(cache, clip_id, t0_us, words):
    source = clips(cache, clip_id, t0_us=t0_us)
    with pytest.raises(InvalidRequestError, match=words):
        source.load(*source.keys)


@pytest.mark.parametrize("name", ["camera_front_tele_30fov", "egomotion"])
def test_a_damaged_file_is_named_with_its_clip(tmp_path, name):
    root = dataset.write_dataset(tmp_path, ["one"])
    (path,) = root.glob(f"*/{name}/*.zip")
    path.write_bytes(path.read_bytes()[:1000])
    source = clips(tmp_path, "one")
    with pytest.raises(InvalidRequestError, match=r"clip one at 5\.1 s: BadZipFile: "):
        source.load(*source.keys)


@pytest.mark.parametrize("revision", [None, "f" * 40], ids=["none", "another"])
def test_a_dataset_that_is_not_there(cache, revision):
    with pytest.raises(InvalidRequestError, match=r"cannot be opened.*--revision"):
        PhysicalAiAv(revision, cache, ["one"], [5_100_000])


def test_no_network(cache):
    """Nobody answers at the hub's address, and nothing says that there is no network."""
    code = (
        f"from {PhysicalAiAv.__module__} import PhysicalAiAv; PhysicalAiAv(None, {str(cache)!r}, ['one'], [5_100_000])"
    )
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("alpamayo_client.errors.InvalidRequestError: the dataset PhysicalAI-Autonomous-Vehicles")
    assert "--revision" in last


def test_a_folder_of_scenes(tmp_path, scene):
    for name in ("b", "a"):
        scene.save(tmp_path / f"{name}.npz")
    (tmp_path / "notes.txt").write_text("not a scene")
    source = NpzFolder(tmp_path)
    assert source.keys == [SceneKey("a", None), SceneKey("b", None)]
    loaded = open_source(source.identity).load(source.keys[0])
    assert isinstance(loaded, Scene)
    np.testing.assert_allclose(loaded.ego_future_xyz, scene.ego_future_xyz, rtol=1e-6)


def test_a_file_is_known_by_its_content(tmp_path, scene):
    """Not by its place or its time: it may be copied; and by every array of it."""
    scene.save(tmp_path / "a.npz")
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    os.utime(tmp_path / "copied" / "a.npz", (0, 0))
    key = SceneKey("a", None)
    before = NpzFolder(tmp_path).fingerprint(key)
    assert NpzFolder(tmp_path / "copied").fingerprint(key) == before
    changed = [replace(scene, ego_future_xyz=np.add(scene.ego_future_xyz, 1e-3)), replace(scene, ego_future_xyz=None)]
    for other in changed:
        other.save(tmp_path / "a.npz")
        assert NpzFolder(tmp_path).fingerprint(key) != before
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(InvalidRequestError, match=r"a\.npz"):
        NpzFolder(tmp_path).fingerprint(key)


@pytest.mark.parametrize(("name", "words"), [("", "holds no .npz file"), ("nowhere", "is not a folder")])
def test_a_folder_without_scenes(tmp_path, name, words):
    with pytest.raises(InvalidRequestError, match=words):
        _ = NpzFolder(tmp_path / name).keys


def test_a_name_that_is_no_text(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.npz")).touch()
    with pytest.raises(InvalidRequestError, match=r"\\udcff\.npz' is not UTF-8: rename it"):
        _ = NpzFolder(tmp_path).keys


def test_a_scene_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(InvalidRequestError, match=r"a\.npz"):
        NpzFolder(tmp_path).load(SceneKey("a", None))


@pytest.mark.parametrize(
    "command", [["view", ".", "--output", "page.html"], ["evaluate", "--scenes", ".", "--output", "."]]
)
def test_commands_name_the_extra(command):
    code = f"import sys; sys.modules['pyarrow'] = None; from alpamayo_client.cli import main; sys.exit(main({command}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "pip install './client[evaluate]'" in ran.stderr


@pytest.mark.parametrize(
    ("missing", "module", "extra"),
    [
        ("pyarrow", "alpamayo_client.evaluation.schema", "evaluate"),
        ("tqdm", "alpamayo_client.evaluation.run", "evaluate"),
        ("physical_ai_av", "alpamayo_client.evaluation.physical_ai_av", "physical-ai-av"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(missing, module, extra):
    code = f"import sys; sys.modules[{missing!r}] = None; import {module} as m; m.PhysicalAiAv()"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"pip install './client[{extra}]'" in ran.stderr.splitlines()[-1]
