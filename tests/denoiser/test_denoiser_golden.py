"""The denoiser against the reference, from the recorded noise and KV: through the exported graph, and in torch."""

import torch
from denoiser.euler import denoise
from denoiser.request import check_request


def test_the_golden_request_is_a_good_one(golden_request, settings):
    check_request(golden_request, settings)


def test_every_step_s_velocity(golden, golden_request, bind):
    velocity = bind(golden_request)
    steps = zip(golden["denoise_t"][:, 0].flatten().tolist(), golden["denoise_x"], golden["denoise_v"], strict=True)
    for t, x, wanted in steps:
        torch.testing.assert_close(velocity(x, t), wanted, rtol=0, atol=1e-5)


def test_every_step_s_state(golden, golden_request, bind):
    velocity, states = bind(golden_request), []

    def recorded(x, t):
        states.append((x.clone(), t))
        return velocity(x, t)

    denoise(recorded, golden_request.noise, golden.meta["inference_step"])
    torch.testing.assert_close(torch.stack([x for x, _ in states]), golden["denoise_x"], rtol=0, atol=1e-3)
    times = torch.tensor([t for _, t in states])
    torch.testing.assert_close(times, golden["denoise_t"][:, 0].flatten(), rtol=0, atol=1e-6)


def test_actions(golden, golden_request, bind):
    action = denoise(bind(golden_request), golden_request.noise, golden.meta["inference_step"])
    torch.testing.assert_close(action, golden["action"], rtol=0, atol=1e-3)


def test_actions_are_far_from_their_noise(golden):
    """So that the tolerances above mean something."""
    assert (golden["action"] - golden["noise"]).abs().max() > 0.1
    assert golden["denoise_v"].abs().max() > 0.1
