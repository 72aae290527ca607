"""Decoding steps that are recorded: when, over which memory, and that a GPU could record them.

There need be no GPU: what stands in for the recorder keeps the work as it is, and runs it at every replay.
"""

import gc
import weakref
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import cuda_graph
import numpy as np
import pytest
import torch
from contract import NO_OWNER
from reasoner.decoding import MOST_RECORDINGS, Decoder
from reasoner.language_model import LanguageModel
from reasoner.packed_sequence import KvMemory
from reasoner.reasoner import Reasoner
from reasoner.sampling import next_tokens
from reasoner.stop_rules import StopRules
from reasoner.warm_up import warm_up
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

STOP = 4426
LONG, SHORT, THIRD = [5, 80, 300, 7, 7, STOP], [200, 11, STOP], [390, 2, 2, 41, STOP]


@dataclass
class Recorder:
    """Runs the work once, as a CUDA graph's recorder does, and then at every replay."""

    error: str | None = None
    recorded: int = 0
    replayed: int = 0
    said: list[str] = field(default_factory=list)

    def __call__(self, work):
        if self.error:
            raise RuntimeError(self.error)
        self.recorded += 1
        work()

        def replay():
            self.replayed += 1
            return work()

        return replay


@pytest.fixture
def recording(reasoner_folder, scene):
    """Of a recorder, the scene with a reasoner that records with it."""
    return lambda recorder: scene.of(Reasoner(reasoner_folder, torch.device("cpu"), recorder, recorder.said.append))


def generate(scene, scripted, *thoughts, max_length=6):
    """In the reasoner's own memory; the KV cache is copied out of it."""
    reasoner, prompt = scene.reasoner, scene.prompt
    with torch.inference_mode():
        kv = prompt.sequence.kv[:, :, :, : prompt.sequence.prompt].clone()
        sequence = reasoner._memory.place(prompt.sequence.prompt, len(thoughts), max_length)
        sequence.kv[:, :, :, : sequence.prompt] = kv
        prefilled = type(prompt)(sequence, prompt.logits, prompt.rope_delta)
        made = reasoner.generate(prefilled, max_length, scripted(*thoughts))
    return made.kv_cache.clone(), made.kv_owner.clone(), made.tokens


def test_replayed_steps_give_what_unrecorded_ones_give(recording, scene, scripted):
    recorder = Recorder()
    recorded = recording(recorder)
    for thoughts in ([LONG, SHORT], [THIRD, LONG], [SHORT], [LONG], [SHORT, THIRD]):
        kv, owner, tokens = generate(recorded, scripted, *thoughts)
        wanted = scene.generate(len(thoughts), 6, scripted(*thoughts))
        assert tokens == wanted.tokens
        assert torch.equal(owner, wanted.kv_owner)
        torch.testing.assert_close(kv, wanted.kv_cache, rtol=0, atol=1e-6)
    assert recorder.recorded == 2  # two thoughts, and one
    assert recorder.replayed == 6 + 6 + 3 + 6 + 5


def test_a_longer_sequence_is_recorded_anew_and_what_was_recorded_over_old_memory_is_forgotten(recording, scripted):
    recorder = Recorder()
    scene = recording(recorder)
    memory = scene.reasoner._memory
    generate(scene, scripted, SHORT)
    place = memory._numbers.data_ptr()
    generate(scene, scripted, SHORT, max_length=200)
    assert list(memory.recorded) == [(768, 1)]
    assert memory._numbers.data_ptr() != place
    place = memory._numbers.data_ptr()
    generate(scene, scripted, SHORT)  # shorter again, in the same memory
    generate(scene, scripted, SHORT, max_length=200)
    assert memory._numbers.data_ptr() == place
    assert recorder.recorded == 3
    assert list(memory.recorded) == [(512, 1), (768, 1)]


def test_a_warm_reasoner_records_nothing_more_for_usual_requests(recording, scripted):
    recorder = Recorder()
    scene = recording(recorder)
    warm_up(scene.reasoner)
    assert recorder.recorded == 2
    place = scene.reasoner._memory._numbers.data_ptr()
    grey = [np.full((3, 1080, 1920), 9, np.uint8)] * scene.reasoner.settings.max_images
    reasoner = scene.reasoner
    with torch.inference_mode():
        for samples in (1, 6):
            request = replace(scene.request(samples=samples, max_generation_length=256), images=grey)
            prefilled = reasoner.prefill(reasoner.look(request), samples, 256)
            reasoner.generate(prefilled, 256, scripted(*[SHORT] * samples))
    assert recorder.recorded == 2
    assert scene.reasoner._memory._numbers.data_ptr() == place


def test_only_so_many_recordings_are_kept(recording, scripted):
    recorder = Recorder()
    scene = recording(recorder)
    generate(scene, scripted, SHORT, max_length=280)
    for thoughts in range(1, MOST_RECORDINGS + 1):
        generate(scene, scripted, *[SHORT] * thoughts, max_length=3)
    kept = list(scene.reasoner._memory.recorded)
    assert kept == [(512, thoughts) for thoughts in range(1, MOST_RECORDINGS + 1)]
    generate(scene, scripted, SHORT, max_length=3)  # the one that was made first is the latest used now
    generate(scene, scripted, SHORT, max_length=280)
    assert recorder.recorded == MOST_RECORDINGS + 2
    assert list(scene.reasoner._memory.recorded) == [*kept[2:], kept[0], (768, 1)]


def test_what_ends_at_once_records_nothing_and_leaves_no_rows(recording, scripted):
    recorder = Recorder()
    kv, owner, _ = generate(recording(recorder), scripted, [400], [400])  # the language model's end token
    assert recorder.recorded == 0
    assert not kv[:, :, :, owner == NO_OWNER].any()


@pytest.fixture
def idle_cuda(monkeypatch):
    """A CUDA that does nothing, for the real recorder; it says on which stream torch is."""
    stream = SimpleNamespace(wait_stream=lambda _: None)
    cuda = SimpleNamespace(
        current_stream=lambda: stream,
        Stream=lambda: stream,
        stream=lambda _: nullcontext(),
        set_stream=lambda it: setattr(cuda, "on", it),
        CUDAGraph=lambda: SimpleNamespace(replay=lambda: None),
        graph=lambda _: nullcontext(),
        usual=stream,
        on=None,
    )
    monkeypatch.setattr(cuda_graph, "torch", SimpleNamespace(cuda=cuda))
    return cuda


def test_a_recording_keeps_alive_what_it_reads(idle_cuda):
    """A graph holds addresses only."""

    def recorded():
        read = torch.ones(3)
        return cuda_graph.record(lambda: read * 2), weakref.ref(read)

    replay, read = recorded()
    gc.collect()
    assert read() is not None
    assert replay().tolist() == [2, 2, 2]


def test_after_a_recording_that_fails_torch_is_on_its_usual_stream(idle_cuda):
    """As torch's own context manager is when ending the recording raises: it does not go back."""

    @contextmanager
    def failing(graph):
        idle_cuda.on = "the recording's"
        yield
        raise RuntimeError("operation failed due to a previous error during capture")

    idle_cuda.graph = failing
    with pytest.raises(RuntimeError, match="previous error"):
        cuda_graph.record(lambda: torch.ones(1))
    assert idle_cuda.on is idle_cuda.usual


def test_a_step_that_cannot_be_recorded_runs_all_the_same(recording, scene, scripted):
    recorder = Recorder(error="operation not permitted when stream is capturing")
    failing = recording(recorder)
    for _ in range(2):
        kv, _, tokens = generate(failing, scripted, LONG, SHORT)
    wanted = scene.generate(2, 6, scripted(LONG, SHORT))
    assert tokens == wanted.tokens
    torch.testing.assert_close(kv, wanted.kv_cache, rtol=0, atol=1e-6)
    assert recorder.said == ["decoding runs without a CUDA graph: operation not permitted when stream is capturing"]


class _OnOneDevice(TorchDispatchMode):
    """Refuses what a CUDA graph cannot hold: numbers that the host needs, and copies between host and GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += 1
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, out)) if isinstance(x, torch.Tensor)]
        devices = {x.device.type for x in tensors}
        assert len(devices) <= 1, f"{func} mixes {devices}"
        assert func is not torch.ops.aten._local_scalar_dense.default, "the host asks for a number"
        return out


@pytest.mark.parametrize("thoughts", [1, 6])
def test_a_gpu_could_record_it(thoughts):
    """At the released widths, on tensors without numbers for a GPU's: a host's beside them would be seen."""
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    config = Qwen3VLTextConfig(
        hidden_size=4096, intermediate_size=12288, num_hidden_layers=2, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, vocab_size=155697, rms_norm_eps=1e-6, rope_parameters=rope,
    )  # fmt: skip
    device = torch.device("meta")
    with device:
        text = Qwen3VLTextModel(config).to(torch.bfloat16).requires_grad_(False)
        head = torch.nn.Linear(4096, 155697, bias=False, dtype=torch.bfloat16)
    memory = KvMemory(2, 8, 128, torch.bfloat16, device, stays=True)
    decoder = Decoder(LanguageModel(text), lambda h: head(h).float(), memory, None, print)
    with torch.inference_mode():
        step = decoder._step(memory.place(3000, thoughts, 40))
        with _OnOneDevice() as watched:
            logits = step.run()
    assert logits.shape == (thoughts, 155697)
    assert watched.operations > 2 * 20


def test_the_host_waits_for_nothing_between_tokens():
    logits, uniform = torch.empty(6, 155697, device="meta"), torch.empty(6, device="meta")
    rules = StopRules(6, 40, STOP, 400, torch.device("meta"))
    with _OnOneDevice():
        for top_k in (0, 5):
            for s in (0, 39):
                rules.take(next_tokens(logits, uniform, 0.6, 0.98, top_k), s)


def test_what_a_gpu_cannot_record_is_seen():
    """The counterpart of the test above: it can fail."""
    there, here = torch.ones(2, device="meta"), torch.ones(2)
    for work in (lambda: there.copy_(here), lambda: there.sum().item(), lambda: there.cpu()):
        with pytest.raises((AssertionError, RuntimeError, NotImplementedError)), _OnOneDevice():
            work()
