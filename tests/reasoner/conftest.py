"""The reasoner of the golden checkpoint, in this process, and the scenes of the golden cases."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from contract import InvalidRequest, parse_parameters
from reasoner.packed_sequence import KvMemory
from reasoner.reasoner import Prefilled, Reasoner, Thoughts
from reasoner.request import ReasonerRequest, parse_request
from reasoner.settings import ReasonerSettings
from torch import Tensor


@pytest.fixture(scope="session")
def reasoner_folder(repository: Path) -> Path:
    return repository / "alpamayo_reasoner" / "1"


@pytest.fixture(scope="session")
def settings(reasoner_folder: Path) -> ReasonerSettings:
    return ReasonerSettings.load(reasoner_folder)


@pytest.fixture(scope="session")
def reasoner(reasoner_folder: Path) -> Reasoner:
    return Reasoner(reasoner_folder, torch.device("cpu"))


@dataclass(frozen=True)
class Scene:
    """A scene, and the reasoner to think about it."""

    reasoner: Reasoner
    images: list[Tensor]
    ego_history_xyz: Tensor

    @classmethod
    def of_case(cls, reasoner: Reasoner, golden: Any) -> "Scene":
        return cls(reasoner, list(golden["frames"].flatten(0, 1)), golden["ego_history_xyz"][0, 0])

    @cached_property
    @torch.inference_mode()
    def prompt(self) -> Prefilled:
        """The prefilled prompt, with no more room than its bucket leaves."""
        return self.reasoner.prefill(self.reasoner.look(self.request()), thoughts=1, length=0)

    @torch.inference_mode()
    def prefill(self, thoughts: int, length: int) -> Prefilled:
        """A copy of the prefilled prompt, with room behind it."""
        kv, prompt = self.prompt.sequence.kv, self.prompt.sequence.prompt
        layers, _, kv_heads, _, head_dim = kv.shape
        memory = KvMemory(layers, kv_heads, head_dim, kv.dtype, kv.device, stays=False)
        sequence = memory.place(prompt, thoughts, length)
        sequence.kv[:, :, :, :prompt] = kv[:, :, :, :prompt]
        return replace(self.prompt, sequence=sequence)

    @torch.inference_mode()
    def generate(
        self, thoughts: int, max_length: int, sample: Callable[[Tensor, int], Tensor], **stop: Callable[[], None]
    ) -> Thoughts:
        return self.reasoner.generate(self.prefill(thoughts, max_length), max_length, sample, **stop)

    @torch.inference_mode()
    def recite(self, thoughts: list[list[int]]) -> Thoughts:
        return self.reasoner.recite(self.prefill(len(thoughts), max(map(len, thoughts))), thoughts)

    def request(self, *, reasoning: list[str] | None = None, samples: int = 1, **parameters: Any) -> ReasonerRequest:
        return ReasonerRequest(
            images=[image.numpy() for image in self.images],
            ego_history_xyz=self.ego_history_xyz.numpy(),
            num_traj_samples=samples if reasoning is None else len(reasoning),
            max_generation_length=parameters.pop("max_generation_length", 16),
            parameters=parse_parameters(json.dumps(parameters)),
            reasoning=reasoning,
        )

    def think(self, seed: int = 0, **request: Any) -> Thoughts:
        return self.reasoner.think(self.request(**request), seed)

    def of(self, reasoner: Reasoner) -> "Scene":
        return replace(self, reasoner=reasoner)


@pytest.fixture(scope="session")
def golden_scene(reasoner: Reasoner, golden: Any) -> Scene:
    """The golden case's scene."""
    return Scene.of_case(reasoner, golden)


@pytest.fixture(scope="session")
def scene(reasoner: Reasoner, golden_case: Any) -> Scene:
    """A small scene: two images, 483 prompt tokens."""
    return Scene.of_case(reasoner, golden_case("no_stop_token"))


def scripted(*thoughts: list[int]) -> Callable[[Tensor, int], Tensor]:
    """A `sample` that draws these tokens whatever the logits are; after a thought's last one, its first again."""
    return lambda logits, step: torch.tensor([thought[step % len(thought)] for thought in thoughts])


@pytest.fixture(scope="session", name="scripted")
def scripted_fixture() -> Callable[..., Callable[[Tensor, int], Tensor]]:
    return scripted


@pytest.fixture(scope="session")
def kv_of() -> Callable[[Thoughts, int], Tensor]:
    """The KV rows of one owner."""
    return lambda thoughts, owner: thoughts.kv_cache[:, :, :, thoughts.kv_owner == owner]


@pytest.fixture(scope="session")
def good(golden_case):
    """The inputs of a request: two cameras, two frames, and a real history."""
    golden = golden_case("greedy")
    return {
        "image_frames": golden["frames"][:2, :2].numpy(),
        "ego_history_xyz": golden["ego_history_xyz"][0, 0].numpy(),
        "ego_history_rot": golden["ego_history_rot"][0, 0].numpy(),
    }


@pytest.fixture(scope="session")
def parse(good, settings):
    """Parses the good request with some inputs changed, and these parameters."""

    def parse(inputs=None, limits=settings, **parameters):
        return parse_request({**good, **(inputs or {})}, json.dumps(parameters), limits)

    return parse


@pytest.fixture(scope="session")
def refusal(parse):
    def refusal(inputs=None, **rest) -> str:
        with pytest.raises(InvalidRequest) as refused:
            parse(inputs, **rest)
        return str(refused.value)

    return refusal
