"""When a step is recorded as a CUDA graph, and that what is replayed is the request's.

With a runner that computes on the CPU, and a recording that does no more than call it.
"""

from dataclasses import dataclass, field, replace

import pytest
import torch
from denoiser.velocity import MOST_RECORDINGS, Denoiser


@dataclass
class Recorder:
    """In the place of `cuda_graph.record`."""

    made: int = 0
    replayed: int = 0
    broken: Exception | None = None
    said: list[str] = field(default_factory=list)

    def __call__(self, step):
        if self.broken:
            raise self.broken
        self.made += 1

        def replay():
            self.replayed += 1
            return step()

        return replay


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def recording(runners, settings, recorder):
    runner = runners["onnxruntime"]
    runner.recordable = True
    yield Denoiser(runner, settings, recorder, recorder.said.append)
    runner.recordable = False


def test_a_request_like_the_last_one_is_recorded_once_and_replayed(recording, recorder, packed, bind_module):
    for turn, noise in enumerate((packed.noise, packed.noise + 1, packed.noise - 1)):
        request = replace(packed, noise=noise, action_position=packed.action_position + turn)
        velocity, wanted = recording.bind(request), bind_module(request)
        for t in (0.0, 0.5):
            torch.testing.assert_close(velocity(noise, t), wanted(noise, t), rtol=0, atol=1e-5)
    assert (recorder.made, recorder.replayed) == (1, 4)


def test_other_owners_are_seen_by_a_replayed_step(recording, packed, bind_module):
    for owner in (packed.action_owner, packed.action_owner, packed.action_owner.flip(0)):
        request = replace(packed, action_owner=owner)
        found, wanted = recording.bind(request)(packed.noise, 0.1), bind_module(request)(packed.noise, 0.1)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_cache_elsewhere_or_of_another_size_is_not_taken_for_the_recorded_one(
    recording, recorder, packed, bind_module
):
    """Nor do they displace it: requests for one and for six take turns."""
    elsewhere = replace(packed, kv_cache=packed.kv_cache.clone())
    fewer = replace(packed, kv_cache=packed.kv_cache[:, :, :, :-1].contiguous(), kv_owner=packed.kv_owner[:-1])
    one = replace(packed, noise=packed.noise[:1], action_owner=packed.action_owner[:1],
                  action_position=packed.action_position[:1])  # fmt: skip
    requests = (packed, elsewhere, fewer, one)
    for turn in range(3):
        for request in requests:
            found, wanted = recording.bind(request)(request.noise, 0.1), bind_module(request)(request.noise, 0.1)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
        assert (recorder.made, recorder.replayed) == [(0, 0), (4, 4), (4, 8)][turn]


def test_only_the_latest_are_kept(recording, recorder, packed):
    others = [replace(packed, kv_cache=packed.kv_cache.clone()) for _ in range(MOST_RECORDINGS)]
    for request in (packed, packed, *others[1:], packed, *others[1:]):
        recording.bind(request)(request.noise, 0.1)
    assert recorder.made == MOST_RECORDINGS  # all of them: `packed` was asked for in between
    recording.bind(others[0])
    recording.bind(packed)  # the oldest by then
    assert recorder.made == MOST_RECORDINGS
    recording.bind(packed)
    assert recorder.made == MOST_RECORDINGS + 1


def test_a_cache_that_will_not_lie_there_again_is_not_recorded(recording, recorder, packed):
    for _ in range(3):
        recording.bind(packed, recurs=False)(packed.noise, 0.1)
    assert (recorder.made, recording._seen) == (0, {})


def test_a_recording_without_memory_is_tried_again(recording, recorder, packed, bind_module):
    recorder.broken = torch.OutOfMemoryError("CUDA out of memory")
    for turn in range(4):
        found = recording.bind(packed)(packed.noise, 0.1)
        torch.testing.assert_close(found, bind_module(packed)(packed.noise, 0.1), rtol=0, atol=1e-5)
        recorder.broken = None if turn else recorder.broken
    assert recorder.made == 1
    assert recorder.said == []


def test_what_cannot_be_recorded_runs_all_the_same_and_is_not_tried_again(recording, recorder, packed, bind_module):
    recorder.broken = RuntimeError("operation not permitted when stream is capturing")
    for turn in range(4):
        found = recording.bind(packed)(packed.noise, 0.1)
        torch.testing.assert_close(found, bind_module(packed)(packed.noise, 0.1), rtol=0, atol=1e-5)
        recorder.broken = recorder.broken if turn == 0 else None  # it was tried in the second turn
    assert recorder.made == 0
    assert recorder.said == [
        "the denoising step runs without a CUDA graph: operation not permitted when stream is capturing"
    ]


def test_a_runner_of_another_stream_is_never_recorded(runners, settings, recorder, packed):
    denoiser = Denoiser(runners["onnxruntime"], settings, recorder, recorder.said.append)
    for _ in range(3):
        denoiser.bind(packed)(packed.noise, 0.1)
    assert recorder.made == 0
