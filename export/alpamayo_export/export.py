"""From a checkpoint to a model repository."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from alpamayo_export import repository as repo
from alpamayo_export.checkpoint import Checkpoint, hashes, model_dtype
from alpamayo_export.denoiser import DenoisingStep
from alpamayo_export.denoiser_graph import load_step, write_graphs
from alpamayo_export.errors import ExportError
from alpamayo_export.limits import MERGED_PATCH, Limits
from alpamayo_export.progress import say
from alpamayo_export.settings import PRECISIONS, Target, write_flags, write_settings

DENOISERS = ("auto", "tensorrt", "onnxruntime", "torch")

Check = Callable[[Path], None]


@dataclass(frozen=True)
class Options:
    precision: str  # auto, fp32, bf16
    denoiser: str  # auto, onnxruntime, torch, tensorrt
    limits: Limits
    offload: tuple[str, ...] = ()  # of the reasoner, what stays in host memory if it runs on a GPU: embedding, vision


def export(checkpoint: Checkpoint, output: Path, options: Options, check: Check = lambda repository: None) -> None:
    """Writes the model repository `output`: all of it, or nothing.

    Args:
        checkpoint: what is exported.
        output: a repository there is replaced.
        options: how.
        check: called with the folder of the complete repository before it becomes `output`. What it raises passes
            through, and `output` stays as it was.

    Raises:
        ExportError: the options cannot be met, or `output` is something else already.
    """
    target = choose_target(checkpoint, options)
    with repo.replacing(output) as repository:
        text_tokens = write_settings(checkpoint, repository, target)
        _write_networks(checkpoint, repository, target)
        write_flags(checkpoint, repository, target, text_tokens, repo.network_bytes(repository))
        repo.record_files(repository)
        say("hashing the checkpoint")
        repo.write_manifest(repository, _manifest(checkpoint, target))
        check(repository)


def choose_target(checkpoint: Checkpoint, options: Options) -> Target:
    """What `auto` is here, and whether the networks are for a GPU.

    Raises ExportError if the options cannot be met.
    """
    denoiser = options.denoiser
    if denoiser not in DENOISERS:
        raise ExportError(f"--denoiser {denoiser}: known are {', '.join(DENOISERS)}")
    if "embedding" in options.offload and checkpoint.vlm.tie_word_embeddings:
        raise ExportError(
            "--offload embedding: this checkpoint's output layer is its embedding table, which a GPU needs whole: "
            "nothing would be saved"
        )
    # TensorRT, and bf16 on ONNX Runtime, want a GPU: such a repository is for another machine, if there is none here.
    gpu = torch.cuda.is_available() or denoiser == "tensorrt"
    gpu = gpu or (options.precision == "bf16" and denoiser != "torch")
    precision = ("bf16" if gpu else "fp32") if options.precision == "auto" else options.precision
    if denoiser == "auto" and not gpu:
        denoiser = "onnxruntime"
    return Target(precision, denoiser, options.limits, options.offload, gpu)


def _write_networks(checkpoint: Checkpoint, repository: Path, target: Target) -> None:
    if checkpoint.config.random_vlm_seed is None:
        say("splitting off the reasoner's weights")
        repo.write_reasoner_weights(checkpoint.weights, repository / repo.REASONER / "1")
    say("reading the denoiser's weights")
    write_graphs(denoising_step(checkpoint, target.precision), checkpoint.expert, repository / repo.DENOISER / "1")


def denoising_step(checkpoint: Checkpoint, precision: str) -> DenoisingStep:
    """The module that is exported, with the checkpoint's weights."""
    config = checkpoint.config
    weights, dtype = checkpoint.denoiser_weights(), PRECISIONS[precision]
    return load_step(config.action_in_proj, checkpoint.expert, weights, dtype, model_dtype(config))


def _manifest(checkpoint: Checkpoint, target: Target) -> dict[str, Any]:
    return {
        "checkpoint": {
            "name": checkpoint.name,
            "vlm_name_or_path": checkpoint.config.vlm_name_or_path,
            **hashes(checkpoint),
        },
        "precision": target.precision,
        "denoiser": target.denoiser,
        "limits": dataclasses.asdict(target.limits),
        "images": {  # how large the model sees them: a client may resize its frames so
            "multiple_of": MERGED_PATCH,
            "min_pixels": checkpoint.config.min_pixels,
            "max_pixels": checkpoint.config.max_pixels,
        },
        "versions": repo.versions(),
    }
