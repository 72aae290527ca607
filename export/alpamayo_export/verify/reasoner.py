"""The reasoner: its weights, its prompt, and what it thinks, against transformers' own Qwen3-VL."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from alpamayo_model_repository.contract import PROMPT_OWNER, Parameters
from cuda_graph import record
from reasoner.images import preprocess
from reasoner.reasoner import Reasoner, Thoughts
from reasoner.reasoner import Scene as Seen
from reasoner.request import ReasonerRequest
from torch import Tensor
from tqdm import tqdm

from alpamayo_export.checkpoint import Checkpoint
from alpamayo_export.checkpoint_files import Weights
from alpamayo_export.settings import Target
from alpamayo_export.verify.differences import differing, relative_error
from alpamayo_export.verify.inputs import random_image
from alpamayo_export.verify.reference import Transformers
from alpamayo_export.verify.report import Row
from alpamayo_export.verify.scene import Scene, image_processor, patches, prompt_tokens, random_scene, random_size
from alpamayo_export.verify.thinking import Thinking, flat
from alpamayo_export.verify.tolerances import EXACT, TOLERANCES

PART = "reasoner"


def verify_weights(folder: Path, checkpoint: Checkpoint) -> Iterator[Row]:
    """Tensor by tensor, bit by bit."""
    part = f"{PART}: weights that differ"
    if checkpoint.config.random_vlm_seed is not None:
        yield Row(part, None, EXACT, "no file holds them: they are drawn when the model is loaded")
        return
    stored, ours = checkpoint.weights, Weights.find(folder)
    wanted = {name.removeprefix("vlm."): name for name in stored.shard_of if name.startswith("vlm.")}
    wrong = sorted(wanted.keys() ^ ours.shard_of.keys())
    for name in tqdm(sorted(wanted.keys() & ours.shard_of.keys()), desc="comparing weights", delay=2):
        (found,), (exact,) = ours.read([name]).values(), stored.read([wanted[name]]).values()
        if found.dtype != exact.dtype or not torch.equal(found, exact):
            wrong.append(name)
    yield Row(part, len(wrong), EXACT, ", ".join(wrong[:3]))


def verify_reasoner(
    folder: Path, checkpoint: Checkpoint, target: Target, rng: np.random.Generator, device: torch.device
) -> Iterator[Row]:
    """The two models are in memory one after the other, never together."""
    tolerances = TOLERANCES[target.precision]
    scene = random_scene(rng, checkpoint, target.limits)
    pixel_values, grid = patches(image_processor(checkpoint), scene.images)
    prompt = prompt_tokens(checkpoint, grid, scene.history.xyz)

    exported = _Exported(folder, scene, device)
    yield exported.patches(rng, checkpoint, tolerances.patches)
    yield Row(f"{PART}: prompt tokens that differ", differing(exported.seen.prompt, prompt), EXACT)
    found = {"decoded": exported.decoded(), "given": exported.recited()}
    del exported
    torch.cuda.empty_cache()
    wanted = Transformers(checkpoint, target.precision, device).think(prompt, pixel_values, grid, scene.thoughts)

    decoded = found["decoded"]
    yield Row(f"{PART}: prompt's KV cache", relative_error(decoded.prompt_kv, wanted.prompt_kv), tolerances.kv_cache)
    yield Row(f"{PART}: logits", max(map(relative_error, decoded.logits, wanted.logits)), tolerances.logits)
    for how, thinking in found.items():
        error = max(map(relative_error, thinking.thought_kv, wanted.thought_kv))
        yield Row(f"{PART}: {how} thoughts' KV cache", error, tolerances.kv_cache)
        ends = sum(a != b for a, b in zip(thinking.ends, wanted.ends, strict=True))
        yield Row(f"{PART}: {how} thoughts that end elsewhere", ends, EXACT)


class _Exported:
    """The repository's reasoner, opened as its model.py opens it, before a scene."""

    def __init__(self, folder: Path, scene: Scene, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._reasoner = Reasoner(folder, device, record if on_gpu else None, log=lambda message: None)
        self._thoughts = scene.thoughts
        with torch.inference_mode():
            self.seen: Seen = self._reasoner.look(_request(scene))

    def patches(self, rng: np.random.Generator, checkpoint: Checkpoint, tolerance: float) -> Row:
        """Of images of any size, which are resized."""
        settings = self._reasoner.settings
        images = [random_image(rng, *random_size(rng)) for _ in range(3)]
        on_device = (torch.from_numpy(image).to(self._reasoner.device) for image in images)
        found, grid = preprocess(on_device, settings.min_pixels, settings.max_pixels)
        wanted, wanted_grid = patches(image_processor(checkpoint), images)
        same_grid = torch.equal(grid, wanted_grid)
        error = 127.5 * float((found.cpu() - wanted).abs().max()) if same_grid else torch.inf
        return Row(f"{PART}: patches, in levels of 255", error, tolerance, "" if same_grid else "images of other sizes")

    @torch.inference_mode()
    def decoded(self) -> Thinking:
        """Token by token, side by side, as thoughts are generated."""
        drawn_from: list[Tensor] = []

        def forced(logits: Tensor, s: int) -> Tensor:
            drawn_from.append(logits.float().cpu())
            return torch.tensor([thought[min(s, len(thought) - 1)] for thought in self._thoughts]).to(logits.device)

        longest = max(map(len, self._thoughts))
        prefilled = self._reasoner.prefill(self.seen, len(self._thoughts), longest)
        thoughts = self._reasoner.generate(prefilled, longest, forced)
        logits = [
            torch.stack([step[i] for step in drawn_from[: len(thought)]]) for i, thought in enumerate(self._thoughts)
        ]
        return _thinking(thoughts, logits)

    @torch.inference_mode()
    def recited(self) -> Thinking:
        """All tokens at once, as given thoughts are."""
        prefilled = self._reasoner.prefill(self.seen, len(self._thoughts), max(map(len, self._thoughts)))
        return _thinking(self._reasoner.recite(prefilled, self._thoughts), [])


def _request(scene: Scene) -> ReasonerRequest:
    return ReasonerRequest(
        images=scene.images,
        ego_history_xyz=scene.history.xyz,
        num_traj_samples=len(scene.thoughts),
        max_generation_length=max(map(len, scene.thoughts)),
        parameters=Parameters(),
    )


def _thinking(thoughts: Thoughts, logits: list[Tensor]) -> Thinking:
    def of(owner: int) -> Tensor:
        return flat(thoughts.kv_cache[:, :, :, thoughts.kv_owner == owner])

    after = zip(thoughts.action_position.tolist(), thoughts.complete, strict=True)
    ends = [position if complete else -1 for position, complete in after]
    return Thinking(of(PROMPT_OWNER), [of(i) for i in range(len(ends))], logits, ends)
