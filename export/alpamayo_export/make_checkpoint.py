"""`alpamayo-make-checkpoint {tiny,released} --output DIR`: random weights in the released layout.

For measuring and testing where nobody has the released weights: how long a request takes does not depend on
their values. Drawn on the GPU where torch sees one: other weights than a CPU's, from the same seed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from alpamayo_export.errors import ExportError


def main(argv: Sequence[str] | None = None) -> int:
    """0: written; 1: it could not be, with a line on stderr; 2: wrong usage."""
    args = parser().parse_args(argv)
    # Imported late: --help should not wait for torch.
    from alpamayo_export.random_checkpoint import write_random_checkpoint

    try:
        size = write_random_checkpoint(args.output, args.size, args.layers, args.seed, args.without_vlm)
    except (ExportError, OSError) as error:
        print(f"alpamayo-make-checkpoint: {error}", file=sys.stderr)
        return 1
    print(f"alpamayo-make-checkpoint: wrote {args.output}, {size / 1e9:.3g} GB")
    return 0


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(
        prog="alpamayo-make-checkpoint", description="Write a checkpoint of random weights in the released layout."
    )
    cli.add_argument(
        "size", choices=("tiny", "released"), help="released: 22 GB in bf16, with the released shapes; tiny: 3 MB"
    )
    cli.add_argument("--output", required=True, type=Path, metavar="DIR", help="a folder that is new, or empty")
    cli.add_argument(
        "--layers",
        type=int,
        help="of the language model and the expert, instead of all; fewer of the vision tower's too",
    )
    cli.add_argument(
        "--seed", type=int, default=0, help="the same seed makes the same weights on a GPU, or on a CPU, not across (0)"
    )
    cli.add_argument(
        "--without-vlm",
        action="store_true",
        help="leave out the vision-language model's weights (17 of 22 GB): what loads it draws them from the seed, "
        "on the device where they stay; for where disk or memory is short",
    )
    return cli


if __name__ == "__main__":
    sys.exit(main())
