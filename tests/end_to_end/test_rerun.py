"""Recordings for Rerun, of what the running server answered, read back with Rerun's own reader."""

import io
import os
import subprocess

import numpy as np
import PIL.Image
import pytest
import rerun as rr
from alpamayo_client import Scene
from alpamayo_client.looking.rerun_log import log_scene, save_recording

from .golden_case import golden_case
from .live_server import SCRIPTS

CASE = golden_case("sampled")
ASKED = {"num_traj_samples": 2, "num_traj_sets": 2, "max_generation_length": 8, "inference_steps": 2, "seed": 9}
OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in ASKED.items()]
T0_US = 1_760_000_000_123_456
OFFSETS_MS = np.array([[-480, 20], [-500.25, 0], [-500, 0]])
FORWARD_LEFT_UP, RIGHT_FORWARD_UP = [5, 4, 1], [3, 5, 1]  # Rerun's numbers for directions
TURNED_LEFT = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])


@pytest.fixture(scope="module")
def scene():
    """The golden one, somewhere in UTM, with a future, filmed at the demo's times."""
    future = np.stack([np.arange(1, 65), np.zeros(64), np.zeros(64)], axis=-1)
    ego_to_world = np.eye(4)
    ego_to_world[:3, :3], ego_to_world[:3, 3] = TURNED_LEFT, [691_000.25, 5_335_000.5, 520.0]
    return Scene(*CASE.scene, future, T0_US, ego_to_world, OFFSETS_MS)


@pytest.fixture(scope="module")
def prediction(client, scene):
    return client.predict(scene, **ASKED)


class Recording:
    """What is in a file, by entity and component."""

    def __init__(self, path):
        self._file = rr.dataframe.load_recording(path)

    @property
    def entities(self):
        paths = {column.entity_path for column in self._file.schema().component_columns()}
        return sorted(path for path in paths if not path.startswith("/__properties"))

    def values(self, entity, component):
        """{time in microseconds: value}, of what is logged there at that time."""
        view = self._file.view(index="time", contents=entity, include_tombstone_columns=True)
        table = view.select(columns=["time", f"{entity}:{component}"]).read_all()
        times_us = (time.value // 1000 for time in table["time"])
        values = zip(times_us, table.column(1).to_pylist(), strict=True)
        return {time_us: value for time_us, value in values if value is not None}

    def axes(self, entity):
        """At all times."""
        view = self._file.view(index="time", contents=entity)
        return view.select_static(columns=[f"{entity}:ViewCoordinates"]).read_all().column(0).to_pylist()[0][0]

    def strips(self, entity, t0_us):
        return np.array(self.values(entity, "LineStrip3D")[t0_us], np.float32)


def alpamayo(*arguments, **environment):
    command = [SCRIPTS / "alpamayo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=os.environ | environment)


def pixels(blob):
    """(3, height, width) of a file."""
    return np.asarray(PIL.Image.open(io.BytesIO(bytes(blob[0])))).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def recording(server, scene, tmp_path_factory):
    """What `alpamayo predict --rerun` writes, in a home that nothing else is written to."""
    folder = tmp_path_factory.mktemp("predict")
    scene.save(folder / "scene.npz")
    (folder / "home").mkdir()
    asked = ["--url", server.grpc, "--scene", folder / "scene.npz", "--output", folder, *OPTIONS]
    home = {"HOME": str(folder / "home"), "MPLCONFIGDIR": str(folder), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}
    ran = alpamayo("predict", *asked, "--rerun", folder / "scene.rrd", **home)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""  # Rerun warns where others raise
    assert f"wrote {folder / 'scene.rrd'}" in ran.stdout
    assert list((folder / "home").iterdir()) == []  # Rerun's viewer would begin its analytics there
    return Recording(folder / "scene.rrd")


def test_trajectories(recording, prediction, scene):
    xyz = prediction.pred_xyz[0]
    np.testing.assert_array_equal(recording.strips("/world/ego/trajectories", T0_US), xyz.reshape(4, 64, 3))
    np.testing.assert_array_equal(recording.strips("/world/ego/chosen", T0_US), xyz[prediction.medoid()][None])
    np.testing.assert_array_equal(recording.strips("/world/ego/driven", T0_US), [scene.ego_future_xyz])
    np.testing.assert_allclose(recording.strips("/world/ego/history", T0_US), CASE["ego_history_xyz"][0])
    assert recording.values("/world/ego/trajectories", "ClassId") == {T0_US: [0, 1, 0, 1]}  # a colour per thought
    set_, sample = prediction.medoid()
    assert recording.values("/world/ego/chosen", "Text") == {T0_US: [f"set {set_}, thought {sample}"]}


def test_thoughts(recording, prediction):
    ((time_us, (text,)),) = recording.values("/thoughts", "Text").items()
    assert time_us == T0_US
    lines = text.splitlines()
    assert len(lines) == 2
    for line, thought in zip(lines, prediction.cot[0, 0], strict=True):
        assert "".join(filter(str.isalnum, thought)) in "".join(filter(str.isalnum, line))


def test_every_image_at_its_time(recording):
    times_us = T0_US + (OFFSETS_MS * 1000).astype(int)
    cameras = len(times_us)
    assert [path for path in recording.entities if "cameras" in path] == [f"/cameras/{i}" for i in range(cameras)]
    for camera in range(cameras):
        images = recording.values(f"/cameras/{camera}", "Blob")
        assert sorted(images) == times_us[camera].tolist()
        for frame, time_us in enumerate(times_us[camera]):
            error = pixels(images[time_us]).astype(int) - CASE["frames"][camera, frame]
            others = pixels(images[time_us]).astype(int) - CASE["frames"][camera, frame - 1]
            assert np.abs(error).mean() < np.abs(others).mean() / 2


def test_one_scene_is_at_its_world_s_origin(recording):
    assert recording.values("/world/ego", "Translation3D") == {T0_US: [[0, 0, 0]]}
    columns = recording.values("/world/ego", "TransformMat3x3")[T0_US]
    np.testing.assert_array_equal(np.reshape(columns, (3, 3)).T, TURNED_LEFT)
    assert recording.axes("/world") == RIGHT_FORWARD_UP


def test_scenes_of_a_drive_in_one_recording(scene, prediction, tmp_path):
    """The second is 3 m on, its future is not known, and its frames are files."""
    image = io.BytesIO()
    PIL.Image.new("RGB", (48, 32), (0, 200, 0)).save(image, "PNG")
    ego_to_world = np.array(scene.ego_to_world)
    ego_to_world[:3, 3] += [0, 3, 0]
    second = Scene([[image.getvalue()]], *CASE.scene[1:], ego_to_world=ego_to_world)
    origin_m = scene.ego_to_world[:3, 3] + [0, 0, 7]
    other = next(index for index in np.ndindex(2, 2) if index != prediction.medoid())
    with save_recording(tmp_path / "drive.rrd") as recording:
        log_scene(recording, scene, prediction, world_origin_m=origin_m)
        log_scene(recording, second, prediction, T0_US + 1_000_000, origin_m, chosen=other)
        log_scene(recording, second, prediction)  # neither knows a time
    drive = Recording(tmp_path / "drive.rrd")
    positions = {T0_US: [[0, 0, -7]], T0_US + 1_000_000: [[0, 3, -7]]}
    assert drive.values("/world/ego", "Translation3D").items() >= positions.items()
    assert drive.values("/world/ego/chosen", "Text")[T0_US + 1_000_000] == [f"set {other[0]}, thought {other[1]}"]
    np.testing.assert_array_equal(
        drive.strips("/world/ego/chosen", T0_US + 1_000_000)[0], prediction.pred_xyz[0][other]
    )
    assert len(drive.strips("/world/ego/driven", T0_US)) == 1
    assert len(drive.strips("/world/ego/driven", T0_US + 1_000_000)) == 0
    assert bytes(drive.values("/cameras/0", "Blob")[T0_US + 1_000_000][0]) == image.getvalue()
    assert drive.values("/cameras/0", "MediaType")[T0_US + 1_000_000] == ["image/png"]
    assert sorted(drive.values("/thoughts", "Text")) == [0, T0_US, T0_US + 1_000_000]


def test_an_evaluation(server, scene, tmp_path):
    """Two scenes, 10 s apart; the better one is not there any more when it is looked at."""
    (tmp_path / "scenes").mkdir()
    scene.save(tmp_path / "scenes" / "near.npz")
    future = scene.ego_future_xyz + np.array([500, 0, 0])
    Scene(*CASE.scene, future, frame_offsets_ms=[-2000, 0]).save(tmp_path / "scenes" / "far.npz")
    asked = ["--url", server.grpc, "--scenes", tmp_path / "scenes", "--output", tmp_path / "out", *OPTIONS]
    assert alpamayo("evaluate", *asked).returncode == 0
    (tmp_path / "scenes" / "near.npz").unlink()
    ran = alpamayo("view", tmp_path / "out", "--rerun", tmp_path / "worst.rrd")
    assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", f"wrote {tmp_path / 'worst.rrd'}\n")
    recording = Recording(tmp_path / "worst.rrd")
    cases = recording.values("/case", "Text")
    assert sorted(cases) == [10_000_000, 20_000_000]
    assert cases[10_000_000][0].startswith("1. far: minADE@2 ")
    assert cases[20_000_000][0].startswith("2. near: minADE@2 ")
    assert "near.npz" in cases[20_000_000][0].splitlines()[1]
    assert list(recording.values("/world/ego/chosen", "LineStrip3D")) == [10_000_000]
    assert sorted(recording.values("/cameras/0", "Blob")) == [8_000_000, 10_000_000]
    assert recording.values("/", "ClearIsRecursive") == {5_000_000: [True], 15_000_000: [True]}  # the case before
    assert recording.values("/world/ego", "Translation3D") == {}  # the cases share no world
    assert recording.axes("/world") == FORWARD_LEFT_UP


@pytest.mark.parametrize("options", [[], ["--rerun", "a.rrd", "--output", "a.html"]], ids=["neither", "both"])
def test_a_view_is_one_thing(options, tmp_path):
    ran = alpamayo("view", tmp_path, *options)
    assert ran.returncode == 2
    assert "--output" in ran.stderr.splitlines()[-1]
