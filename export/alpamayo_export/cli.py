"""`alpamayo-export CHECKPOINT --output REPO`"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from alpamayo_export.errors import ExportError
from alpamayo_export.limits import Limits
from alpamayo_export.progress import PREFIX, say


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(
        prog="alpamayo-export",
        description="Write an Alpamayo 1 checkpoint as a Triton model repository.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    cli.add_argument(
        "checkpoint",
        help="folder with config.json and *.safetensors, as released, or OWNER/MODEL[@REVISION] of the hub",
    )
    cli.add_argument("--output", required=True, type=Path, metavar="REPO", help="replaced whole if it is one already")
    cli.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="of both networks and the KV cache; auto: bf16 where there is a GPU, else fp32",
    )
    cli.add_argument(
        "--denoiser",
        choices=("auto", "tensorrt", "onnxruntime", "torch"),
        default="auto",
        help="what runs it; auto: TensorRT on a GPU that has it, else ONNX Runtime, as is found when it is served",
    )
    cli.add_argument(
        "--offload",
        nargs="+",
        choices=("embedding", "vision"),
        default=(),
        help="what stays in host memory if there is a GPU: token embeddings, the vision tower; each saves over 1 GB",
    )
    cli.add_argument("--max-images", type=int, default=Limits.max_images, help="cameras x frames")
    cli.add_argument(
        "--max-trajectories", type=int, default=Limits.max_trajectories, help="num_traj_sets x num_traj_samples"
    )
    cli.add_argument("--max-generation-length", type=int, default=Limits.max_generation_length, help="tokens a thought")
    cli.add_argument(
        "--no-verify",
        action="store_true",
        help="do not compare what was written with the checkpoint (as alpamayo-verify does) before it replaces REPO",
    )
    return cli


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    # Imported late: --help should not wait for torch.
    from alpamayo_export.checkpoint import open_checkpoint
    from alpamayo_export.export import Options, export

    try:
        limits = Limits(args.max_images, args.max_trajectories, args.max_generation_length)
        checkpoint = open_checkpoint(args.checkpoint)
        say(f"{checkpoint.folder} is whole")
        options = Options(args.precision, args.denoiser, limits, tuple(args.offload))
        if args.no_verify:
            export(checkpoint, args.output, options)
        else:
            from alpamayo_export.verify.verify import draw_seed, verified

            export(checkpoint, args.output, options, verified(checkpoint, draw_seed()))
    except (ExportError, OSError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; nothing was written, and what was fetched is kept")
        return 130
    print(f"{PREFIX}wrote {args.output}; serve it with: alpamayo-serve {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
