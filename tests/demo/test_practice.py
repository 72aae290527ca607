"""In practice the student drives with what is served, and the driver corrects it."""

import numpy as np
import pytest
import torch
from alpamayo_demo.road.events import RIGHT_LANE_D, Vehicle
from alpamayo_demo.train import practice
from alpamayo_demo.train.batches import Batches
from worlds_by_hand import car, straight


class Driver:
    """Has learnt all there is: its flow leads to the action that its batch wants."""

    def __init__(self, batches):
        self.batches, self.show = batches, batches.shown
        batches.shown = self.shown

    def shown(self, scenes):
        self.batch = self.show(scenes)
        return self.batch

    def parameters(self):
        return iter([torch.zeros(1)])

    def read(self, ids, patches, positions):
        return None, torch.zeros(1, 2, len(ids), 1, 1, 1), None

    def velocity(self, x, t, kv_cache, sees, action_position):
        action = self.batch.action.repeat_interleave(practice.DRAWN, dim=0)
        return (action - x) / (1 - t[:, None, None])


@pytest.mark.usefixtures("short_practice")
def test_in_practice_the_student_drives_and_the_driver_says_what_it_should_have_done(
    scenes, untrained, tmp_path, monkeypatch
):
    monkeypatch.setattr(practice, "SECONDS", 3.0)
    batches = Batches(untrained, scenes)
    position_ids = torch.zeros(3, 1, 1), 0
    monkeypatch.setattr(batches, "position_ids", lambda _: position_ids)

    def speeds_of(folder, student):
        found = practice.practise(folder, 0, student, batches, workers=1)
        assert len(found["action"]) == len(found["image_frames"]) == 12  # six plans of two cars
        missed_by.append(found["missed_by"].max())
        return np.linalg.norm(found["ego_history_xyz"][::2, -2], axis=1), found["action"][::2]

    missed_by = []
    speed, action = speeds_of(tmp_path / "driver.npz", Driver(batches))
    student = Driver(batches)
    velocity = student.velocity
    student.velocity = lambda *given: velocity(*given) - torch.tensor([8.0, 0.0])  # brakes
    slower, corrections = speeds_of(tmp_path / "braking.npz", student)
    assert speed[0] == slower[0]
    assert slower[-1] < speed[-1] - 0.05  # metres in 0.1 s
    assert corrections[-1, 0, 0] > action[-1, 0, 0]
    assert missed_by[0] < 1e-4
    assert missed_by[1] > 0.5


@pytest.mark.usefixtures("short_practice")
def test_who_is_lost_in_practice_is_not_followed(scenes, untrained, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(practice, "lost", lambda ride: asked.append(ride) or ride is asked[0])
    batches = Batches(untrained, scenes)
    position_ids = torch.zeros(3, 1, 1), 0
    monkeypatch.setattr(batches, "position_ids", lambda _: position_ids)
    found = practice.practise(tmp_path / "00.npz", 0, Driver(batches), batches, workers=1)
    assert len(found["action"]) == 2  # both plans of the one that is not lost


def test_lost_is_who_is_far_off_the_lane_or_in_something():
    ride = practice.Ride(straight(Vehicle(s=50.0, d=RIGHT_LANE_D, speed=0.0)), car())
    for ego, expected in (
        (car(), False),
        (car(d=RIGHT_LANE_D - 2.0), False),
        (car(d=RIGHT_LANE_D - 3.0), True),
        (car(s=50.0), True),
    ):
        ride.ego = ego
        assert practice.lost(ride) == expected


def test_plans_in_practice_are_the_served_steps(student, scenes, untrained, served_step):
    batches = Batches(untrained, scenes)
    few = {name: array[[1, 4]] for name, array in scenes.items()}
    got = practice.plans(student, batches, few)
    batch, (positions, rope_delta) = batches.shown(few), batches.position_ids(student)
    noise = torch.randn(practice.DRAWN, 64, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, kv_cache, _ = student.read(batch.ids, batch.patches, positions.expand(-1, 2, -1))
        for i, stop in enumerate(batch.stop):
            owner = torch.where(torch.arange(batch.ids.shape[1]) <= stop, -1, -2).int()
            position = (rope_delta + stop + 1).repeat(practice.DRAWN).int()
            x = noise
            for k in range(practice.FLOW_STEPS):
                t = torch.tensor(k / practice.FLOW_STEPS)
                velocity = served_step(x, t, kv_cache[:, :, i], owner, torch.arange(practice.DRAWN).int(), position)
                x = x + velocity / practice.FLOW_STEPS
            np.testing.assert_allclose(got[i], batches.driven(x.mean(dim=0)), atol=1e-3)


def test_most_of_a_batch_comes_from_practice(scenes, untrained):
    batches = Batches(untrained, scenes)
    unlike = {name: np.zeros_like(array) for name, array in scenes.items()}
    batches.practice = 2 * [{**unlike, "missed_by": np.ones(len(scenes["action"]), np.float32)}]
    own = batches.draw(seed=0, step=0, size=8).own_action
    practised = torch.from_numpy((0 - batches.mean) / batches.std).expand(64, 2)
    assert [torch.equal(action, practised) for action in own] == 3 * [False] + 5 * [True]


def test_what_was_missed_is_practised_more_often(scenes, untrained):
    batches = Batches(untrained, scenes)
    batches.practice = [{**scenes, "missed_by": np.where(scenes["situation"] == 4, 1, 1e-9).astype(np.float32)}]
    own = batches.draw(seed=0, step=0, size=24).own_situation[-15:]
    assert own[-9:].tolist() == 9 * [4]
    assert len(own[:6].unique()) > 4


def test_what_is_missed_later_counts_less(untrained, scenes):
    batches = Batches(untrained, scenes)
    wanted = np.zeros((3, 64, 2), np.float32)
    actions = wanted.copy()
    actions[0, :10, 0] = batches.std[0]  # one of two numbers is wrong by a standard deviation
    actions[1, 10:, 0] = batches.std[0]
    actions[2] = 100.0
    np.testing.assert_allclose(batches.missed_by(actions, wanted), [0.5, 1e-6, 2.0], rtol=1e-5)
