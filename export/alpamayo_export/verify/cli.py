"""`alpamayo-verify REPO --checkpoint CHECKPOINT`"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from alpamayo_export.errors import ExportError


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(
        prog="alpamayo-verify",
        description="Compare each part of a model repository with its checkpoint's torch modules, on random inputs.",
    )
    cli.add_argument("repository", metavar="REPO", type=Path, help="folder that alpamayo-export wrote")
    cli.add_argument("--checkpoint", required=True, help="what it was exported from")
    cli.add_argument("--seed", type=int, help="of the inputs; drawn, and printed, unless given")
    return cli


def main(argv: Sequence[str] | None = None) -> int:
    """0: nothing failed; 1: something did, or there is nothing to compare, with a line on stderr; 2: wrong usage."""
    args = parser().parse_args(argv)
    if args.seed is not None and args.seed < 0:
        parser().error(f"--seed must be 0 or more, got {args.seed}")
    # Imported late: --help should not wait for torch.
    from alpamayo_export.checkpoint import open_checkpoint
    from alpamayo_export.verify.files import check_belongs, describe
    from alpamayo_export.verify.report import failed, summary, table
    from alpamayo_export.verify.verify import draw_seed, verify

    try:
        described = describe(args.repository)
        checkpoint = open_checkpoint(args.checkpoint)
        check_belongs(described, checkpoint)
        seed = draw_seed() if args.seed is None else args.seed
        rows = verify(args.repository, checkpoint, seed)
    except (ExportError, OSError) as error:
        print(f"alpamayo-verify: {error}", file=sys.stderr)
        return 1
    print(f"{table(rows)}\n{summary(rows)}; repeat it with --seed {seed}")
    return 1 if failed(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
