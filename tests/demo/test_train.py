"""The student is the model that is served, and training is the same after an interruption."""

import argparse
import itertools

import numpy as np
import pytest
import torch
from alpamayo_demo.errors import DemoError
from alpamayo_demo.road.situations import Situation
from alpamayo_demo.train import training
from alpamayo_demo.train.batches import Batches
from alpamayo_demo.train.checkpoint import write_weights
from alpamayo_demo.train.losses import _times, flow_error, losses
from alpamayo_demo.train.student import Student, see
from alpamayo_export.export import Options, export
from alpamayo_export.limits import Limits
from reasoner.images import preprocess
from reasoner.prompt import PromptTokenizer
from reasoner.settings import ReasonerSettings

COUNT = len(Situation)


def test_the_vision_tower_sees_what_transformers_sees(student):
    tower = student.vlm.model.visual
    patches = torch.randn(3, 60, 3, 256)
    with torch.no_grad():
        features, deepstack = see(tower, patches.flatten(2))
        both_frames = patches.unsqueeze(3).expand(-1, -1, -1, 2, -1)
        wanted = tower(both_frames.reshape(180, -1), torch.tensor([[1, 6, 10]] * 3))
    torch.testing.assert_close(features, wanted.pooler_output, atol=1e-5, rtol=1e-5)
    for got, tap in zip(deepstack, wanted.deepstack_features, strict=True):
        torch.testing.assert_close(got, tap, atol=1e-5, rtol=1e-5)


def test_reading_is_transformers_own(student, scenes, untrained):
    batches = Batches(untrained, scenes)
    batch = batches.draw(seed=3, step=0, size=2)
    positions, rope_delta = batches.position_ids(student)
    both_frames = batch.patches.view(8, 60, 3, 1, 256).expand(-1, -1, -1, 2, -1)
    with torch.no_grad():
        hidden, kv_cache, _ = student.read(batch.ids, batch.patches, positions.expand(-1, 2, -1))
        wanted = student.vlm(
            input_ids=batch.ids,
            pixel_values=both_frames.reshape(480, -1),
            image_grid_thw=torch.tensor([[1, 6, 10]] * 8),
            mm_token_type_ids=(batch.ids == student.vlm.config.image_token_id).int(),
            use_cache=True,
        )
    torch.testing.assert_close(student.vlm.lm_head(hidden), wanted.logits, atol=1e-4, rtol=1e-4)
    for got, layer in zip(kv_cache, wanted.past_key_values.layers, strict=True):
        torch.testing.assert_close(got, torch.stack([layer.keys, layer.values]), atol=1e-4, rtol=1e-4)
    assert rope_delta == int(student.vlm.model.rope_deltas[0])


def test_the_velocity_is_that_of_the_served_step(student, served_step):
    kv_cache, x, t = torch.randn(4, 2, 2, 2, 9, 32), torch.randn(2, 64, 2), torch.tensor([0.3, 0.8])
    seen, position = torch.tensor([9, 6]), torch.tensor([20, 17])
    with torch.no_grad():
        got = student.velocity(x, t, kv_cache, torch.arange(9) < seen[:, None], position)
        for i in range(2):
            owner = torch.where(torch.arange(9) < seen[i], -1, -2).int()
            alone = served_step(
                x[i : i + 1], t[i], kv_cache[:, :, i], owner, torch.zeros(1).int(), position[i : i + 1].int()
            )
            torch.testing.assert_close(got[i], alone[0], atol=1e-4, rtol=1e-4)


def test_a_batch_holds_the_tokens_and_patches_that_are_served(scenes, untrained, tmp_path, monkeypatch):
    for augmentation in ("MIRRORED", "BRIGHTNESS", "GRAIN", "FALSE_HISTORIES"):
        monkeypatch.setattr(f"alpamayo_demo.train.augmentation.{augmentation}", 0.0)
    monkeypatch.setattr("alpamayo_demo.train.batches.OBEDIENCE", 0.0)
    export(untrained, tmp_path / "repository", Options("fp32", "onnxruntime", Limits(16, 32, 64)))
    folder = tmp_path / "repository" / "alpamayo_reasoner" / "1"
    settings = ReasonerSettings.load(folder)
    tokenizer = PromptTokenizer(folder / "tokenizer.json", settings)
    batch = Batches(untrained, scenes).draw(seed=3, step=0, size=COUNT)
    for i, situation in enumerate(Situation):
        frames = torch.from_numpy(scenes["image_frames"][i]).flatten(0, 1)
        pixels, grid = preprocess(frames, settings.min_pixels, settings.max_pixels)
        prompt = tokenizer.prompt(grid, torch.from_numpy(scenes["ego_history_xyz"][i]))[0]
        served = torch.cat([prompt, torch.tensor(tokenizer.thought(situation.value, "reasoning"))])
        assert batch.ids[i, : len(served)].tolist() == served.tolist()
        assert batch.stop[i] == len(served) - 1
        assert batch.labels[i][batch.labels[i] >= 0].tolist() == served[len(prompt) :].tolist()
        one_of_two = pixels.view(4, 60, 3, 2, 256)[:, :, :, 0].flatten(2)
        torch.testing.assert_close(batch.patches[4 * i : 4 * i + 4], one_of_two, atol=1e-5, rtol=0)


def test_obeying_scenes_teach_driving_and_no_words(scenes, untrained, monkeypatch):
    monkeypatch.setattr("alpamayo_demo.train.augmentation.MIRRORED", 0.0)
    monkeypatch.setattr("alpamayo_demo.train.batches.OBEDIENCE", 1.0)
    batches = Batches(untrained, scenes)
    batch = batches.draw(seed=3, step=0, size=COUNT)
    assert (batch.labels == -100).all()
    action = batch.action.numpy() * batches.std + batches.mean
    for i in range(COUNT):
        which = np.abs(scenes["other_action"][i] - action[i]).max(axis=(1, 2)).argmin()
        np.testing.assert_allclose(action[i], scenes["other_action"][i, which], atol=1e-4)
        thought = batches.thoughts[scenes["other_situation"][i, which]]
        length = int((thought >= 0).sum())
        assert batch.ids[i, len(batches.prompt) :][:length].tolist() == thought[:length].tolist()


class Perfect(torch.nn.Module):
    """Knows the next token and the action, and notes what it is asked."""

    def __init__(self, batch, tokens):
        super().__init__()
        self.batch, self.tokens = batch, tokens
        self.vlm = argparse.Namespace(lm_head=lambda hidden: hidden)

    def read(self, ids, patches, positions):
        following = torch.roll(ids, -1, dims=1)
        return 40.0 * torch.eye(self.tokens)[following], torch.zeros(1, 2, len(ids), 1, ids.shape[1], 1), torch.zeros(1)

    def velocity(self, x, t, kv_cache, sees, action_position):
        self.asked = sees, action_position
        self.started_from = x[t < 0.01][..., 0]  # these scenes' curvatures are far beyond noise
        return (self.batch.action.repeat_interleave(len(x) // len(self.batch.action), dim=0) - x) / (
            1 - t[:, None, None]
        )


@pytest.mark.parametrize("fault", [None, "one token late", "towards the noise"])
def test_who_knows_the_next_token_and_the_action_has_nothing_to_learn(scenes, untrained, monkeypatch, fault):
    monkeypatch.setattr("alpamayo_demo.train.batches.OBEDIENCE", 0.3)
    batch = Batches(untrained, scenes).draw(seed=3, step=0, size=COUNT)
    perfect = Perfect(batch, untrained.config.vocab_size)
    if fault == "one token late":
        read = perfect.read
        perfect.read = lambda *given: (torch.roll((found := read(*given))[0], 1, dims=1), *found[1:])
    if fault == "towards the noise":
        velocity = perfect.velocity
        perfect.velocity = lambda *given: -velocity(*given)
    found = losses(
        perfect, lambda *_: torch.zeros(()), batch, torch.zeros(3, 1, 1), 7, 40, torch.Generator().manual_seed(0)
    )
    assert (found["reasoning"] < 1e-6) == (fault != "one token late")
    assert (found["flow"] < 1e-6) == (fault != "towards the noise")
    sees, position = perfect.asked
    assert position[::40].tolist() == (7 + batch.stop + 1).tolist()  # the waypoints come after the stop token
    assert sees[::40].sum(dim=1).tolist() == (batch.stop + 1).tolist()
    assert all(row[:count].all() for row, count in zip(sees[::40], batch.stop + 1, strict=True))
    assert perfect.started_from.std() == pytest.approx(1.0, abs=0.1)  # at t = 0: noise


def test_what_lasts_weighs_more_than_what_jitters():
    steady = torch.full((1, 64, 2), 0.1)
    jitter = steady * (1 - 2 * (torch.arange(64) % 2))[:, None]
    assert flow_error(torch.zeros(1, 64, 2)) == 0
    assert flow_error(steady) > 5 * flow_error(jitter)


def test_what_is_driven_before_the_next_plan_weighs_more():
    swerve = torch.tensor([0.1, -0.1]).repeat_interleave(10)[:, None]  # that is taken back
    soon, late = torch.zeros(2, 1, 64, 2)
    soon[:, :20], late[:, 20:40] = swerve, swerve
    assert flow_error(soon) > 3 * flow_error(late)


def test_times_are_the_papers():
    t = _times(200_000, torch.Generator().manual_seed(0))
    assert t.min() >= 0
    assert t.max() <= 0.999
    assert t.mean() == pytest.approx(0.999 * (1 - 1.5 / 2.5), abs=3e-3)  # the mean of Beta(a, 1) is a / (a + 1)


def test_the_rate_falls_once_through_the_drivers_scenes_and_practice():
    course = training.Course(steps=500, rounds=10, batch=1, seed=0)
    rates = [training._schedule(step, course) for step in range(course.all_steps)]
    top = training.WARM_UP_STEPS - 1
    assert rates[top] == 1.0
    assert all(after < before for before, after in itertools.pairwise(rates[top + 1 :]))
    assert rates[500] == training.PRACTICE_RATE
    assert rates[-1] == pytest.approx(training.LEAST_RATE, rel=0.01)
    unpractised = training.Course(steps=500, rounds=0, batch=1, seed=0)
    assert training._schedule(499, unpractised) == pytest.approx(training.LEAST_RATE, rel=0.01)


class Interrupted(Batches):
    """The user presses Ctrl-C in that step."""

    at = 2

    def draw(self, seed, step, size):
        if step == self.at:
            raise KeyboardInterrupt
        return super().draw(seed, step, size)


@pytest.mark.usefixtures("short_practice")
@pytest.mark.parametrize("at", [2, 5, 7], ids=["between the driver's scenes", "after practice", "after more of it"])
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(scenes, untrained, tmp_path, monkeypatch, at):
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    monkeypatch.setattr(Interrupted, "at", at)

    def trained(work, batches, steps=4):
        work.mkdir(exist_ok=True)
        torch.manual_seed(5)
        course = training.Course(steps, rounds=2, batch=2, seed=0)
        return training.train(Student.of(untrained), batches, course, work, workers=1).state_dict()

    whole = trained(tmp_path / "whole", Batches(untrained, scenes))
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "interrupted", Interrupted(untrained, scenes))
    resumed = trained(tmp_path / "interrupted", Batches(untrained, scenes))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not torch.equal(whole["action_out_proj.bias"], torch.zeros(2))
    with pytest.raises(DemoError, match=r"state.pt: of another training \(steps 4, not 5\); remove it"):
        trained(tmp_path / "whole", Batches(untrained, scenes), steps=5)
    if at > 4:
        (tmp_path / "again").mkdir()
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "again", Interrupted(untrained, scenes))
        (tmp_path / "again" / "practice" / "00.npz").unlink()
        with pytest.raises(DemoError, match=r"00.npz: is missing; remove .*state.pt to begin anew"):
            trained(tmp_path / "again", Batches(untrained, scenes))
    (tmp_path / "whole" / "state.pt").write_bytes(b"PK of a disk that was full")
    with pytest.raises(DemoError, match=r"state.pt: no state of a training"):
        trained(tmp_path / "whole", Batches(untrained, scenes))


def test_a_checkpoint_too_large_for_the_repository_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 12000000"):
        write_weights(tmp_path, {"x": torch.zeros(3_100_000)})
