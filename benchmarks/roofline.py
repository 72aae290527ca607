"""What a machine does at best, measured; and what the networks' stages have to do at least, by their sizes: weights and
the KV cache read once, and the operations of matrix products.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import alpamayo_model_repository.on_path  # noqa: F401  # for the stages' modules
import torch
from contract import PROMPT_OWNER, WAYPOINTS
from denoiser.request import DenoiserRequest, DenoiserSettings
from reasoner.reasoner import Prefilled, Reasoner, Scene
from reasoner.vision import Streamed

BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class Work:
    """What a stage has to do at least."""

    bytes: float  # read and written once
    operations: float  # floating-point: a multiplication and an addition are two


@dataclass(frozen=True)
class Roofline:
    """What this machine does at best."""

    bytes_per_s: float
    operations_per_s: float

    def bound(self, work: Work) -> float:
        """Seconds."""
        return max(work.bytes / self.bytes_per_s, work.operations / self.operations_per_s)


def nothing() -> None:
    """Nobody cancels."""


def measure_roofline(device: torch.device, precision: str, rounds: int) -> Roofline:
    """The best of `rounds` each."""
    gpu = device.type == "cuda"
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    large = torch.ones((4 if gpu else 1) * 2**28, device=device)  # 4 GiB, or 1
    side = 8192 if gpu else 1024
    a, b = torch.randn(2, side, side, device=device).to(dtype)
    read, product = stopwatch(device, rounds, large.sum), stopwatch(device, rounds, lambda: a @ b)
    return Roofline(large.numel() * 4 / min(read), 2 * side**3 / min(product))


def stopwatch(
    device: torch.device, rounds: int, work: Callable[[], Any], before: Callable[[], Any] = nothing
) -> list[float]:
    """Seconds of each of `rounds` runs, after one that is not counted, the GPU's work included; `before` is not."""
    seconds = []
    for i in range(rounds + 1):
        before()
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        if i:
            seconds.append(time.perf_counter() - start)
    return seconds


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def vision_work(reasoner: Reasoner, scene: Scene) -> Work:
    config, tower = reasoner.model.config.vision_config, reasoner.model.model.visual
    mergers = numbers(tower.merger) + numbers(tower.deepstack_merger_list)
    weights = numbers(tower) - mergers - tower.pos_embed.weight.numel()
    patches = scene.image_grid_thw.prod(dim=1)
    attention = 4 * int((patches**2).sum()) * config.hidden_size * config.depth
    products = 2 * (weights + mergers / config.spatial_merge_size**2) * int(patches.sum())  # mergers see cells
    return Work((weights + mergers) * precision(reasoner), products + attention)


def prefill_work(reasoner: Reasoner, scene: Scene) -> Work:
    text, tokens = reasoner.text_config, scene.prompt.shape[1]
    weights = layers_numbers(reasoner)
    causal = 2 * tokens**2 * text.num_attention_heads * text.head_dim * text.num_hidden_layers
    return Work(weights * precision(reasoner), 2 * weights * tokens + causal)


def token_work(reasoner: Reasoner, prefilled: Prefilled) -> Work:
    """Of one token of each thought; of the KV cache what belongs to the prompt."""
    text, sequence = reasoner.text_config, prefilled.sequence
    weights = layers_numbers(reasoner) + reasoner.model.lm_head.weight.numel()
    kv = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * sequence.prompt
    attention = 4 * sequence.prompt * text.num_attention_heads * text.head_dim * text.num_hidden_layers
    return Work((weights + kv) * precision(reasoner), sequence.thoughts * (2 * weights + attention))


def step_work(settings: DenoiserSettings, weight_bytes: int, request: DenoiserRequest) -> Work:
    """Of one Euler step: attention to the prompt and to the trajectory's own tokens."""
    rows = len(request.action_owner) * WAYPOINTS
    weights = weight_bytes / BYTES[settings.precision]
    seen = int((request.kv_owner == PROMPT_OWNER).sum()) + WAYPOINTS
    attention = 4 * rows * seen * settings.heads * settings.head_dim * settings.layers
    return Work(weight_bytes + request.kv_cache.nbytes, 2 * weights * rows + attention)


def layers_numbers(reasoner: Reasoner) -> int:
    return numbers(reasoner.model.model.language_model.layers)


def numbers(module: torch.nn.Module) -> int:
    """Those that stay in host memory, too."""
    streamed = sum(numbers(it.inner) for it in module.modules() if isinstance(it, Streamed))
    return streamed + sum(weight.numel() for weight in module.parameters())


def precision(reasoner: Reasoner) -> int:
    """Bytes of a weight."""
    return BYTES[reasoner.settings.precision]
