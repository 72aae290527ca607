"""Euler's method, for velocities whose answer is known."""

import pytest
import torch
from contract import Cancelled
from denoiser.euler import denoise


@pytest.fixture
def noise():
    return torch.randn(3, 64, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
def test_a_constant_velocity_is_integrated_exactly(noise, steps):
    constant = torch.linspace(-2, 2, 128).reshape(64, 2)
    torch.testing.assert_close(denoise(lambda x, t: constant.expand_as(x), noise, steps), noise + constant)


@pytest.mark.parametrize("steps", [1, 3, 10, 100])
def test_decay_follows_its_recurrence(noise, steps):
    """v = -x: every step multiplies by 1 - 1 / steps."""
    torch.testing.assert_close(denoise(lambda x, t: -x, noise, steps), noise * (1 - 1 / steps) ** steps)


@pytest.mark.parametrize("steps", [1, 4, 10])
def test_time_runs_from_0_by_steps_and_never_reaches_1(noise, steps):
    times = []
    answer = denoise(lambda x, t: times.append(t) or torch.full_like(x, t), noise, steps)
    assert times == pytest.approx([i / steps for i in range(steps)])
    torch.testing.assert_close(answer, noise + sum(times) / steps)


def test_a_velocity_that_reuses_its_buffer(noise):
    """As the runner's does."""
    buffer = torch.empty_like(noise)

    def velocity(x, t):
        return buffer.copy_(-x)

    torch.testing.assert_close(denoise(velocity, noise, 10), noise * 0.9**10)


def test_the_noise_is_left_as_it_was(noise):
    before = noise.clone()
    denoise(lambda x, t: -x, noise, 3)
    assert torch.equal(noise, before)


@pytest.mark.parametrize("after", range(5))
def test_it_stops_before_the_next_step_once_told_to(noise, after):
    steps = []

    def stop():
        if len(steps) == after:
            raise Cancelled("gone")

    with pytest.raises(Cancelled, match="gone"):
        denoise(lambda x, t: steps.append(t) or -x, noise, 5, stop)
    assert len(steps) == after


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e38])
def test_actions_that_are_not_finite_are_an_error(noise, bad):
    with pytest.raises(RuntimeError, match="not finite"):
        denoise(lambda x, t: torch.full_like(x, bad) * 10, noise, 4)
