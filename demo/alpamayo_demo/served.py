"""A client of what is to drive: a checkpoint, an exported repository, or a server that runs already."""

import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from alpamayo_client import AlpamayoClient
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.export import Options, export
from alpamayo_export.limits import Limits
from alpamayo_export.repository import MANIFEST
from alpamayo_serve.serving import serving

from .errors import DemoError

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "demo" / "checkpoint"
GIVE_UP_S = 120.0  # no answer comes that has taken so long


@contextmanager
def served(source: Path, precision: str = "auto", denoiser: str = "auto") -> Iterator[AlpamayoClient]:
    """Serves `source`, a checkpoint or a repository, for the block.

    Args:
        source: folder. A checkpoint is exported to a temporary one first.
        precision: of that export: auto, fp32, bf16. A repository has its own.
        denoiser: likewise: auto, tensorrt, onnxruntime, torch.

    Raises:
        ExportError: there is no such checkpoint.
        LaunchError: the server does not start.
    """
    with tempfile.TemporaryDirectory(prefix="alpamayo-demo-") as temporary:
        repository = source
        if not is_repository(source):
            repository = Path(temporary) / "repository"
            export(open_checkpoint(str(source)), repository, Options(precision, denoiser, Limits()))
        with (
            serving(repository, Path(temporary) / "log") as endpoints,
            AlpamayoClient(f"{endpoints.address}:{endpoints.grpc_port}") as client,
        ):
            yield client


def is_repository(source: Path) -> bool:
    """It was written by `alpamayo-export`."""
    return (source / MANIFEST).is_file()


def shown(source: Path) -> str:
    """As results name it: where it lies in this repository; of others the name, since their folders say nothing."""
    whole = source.resolve()
    return str(whole.relative_to(ROOT)) if whole.is_relative_to(ROOT) else whole.name


def add_source(parser: ArgumentParser) -> None:
    """The arguments `source` and `--url`, for `client_of`."""
    parser.add_argument(
        "source",
        nargs="?",
        type=Path,
        help="a checkpoint or an exported repository (default: demo/checkpoint)",
    )
    parser.add_argument("--url", metavar="HOST:PORT", help="gRPC endpoint of a running server, instead of a source")


def client_of(source: Path | None, url: str | None) -> AbstractContextManager[AlpamayoClient]:
    """Of what a command was told to measure: a source to serve, or a server's URL; of neither: demo/checkpoint.

    Raises DemoError for both, and what `served` and `running` raise.
    """
    if url is not None and source is not None:
        raise DemoError(f"got both --url {url} and {source}: one of them is to be measured")
    return served(source or CHECKPOINT) if url is None else running(url)


@contextmanager
def running(url: str) -> Iterator[AlpamayoClient]:
    """A client of the server at `url`, host:port, for the block.

    Raises:
        DemoError: what is served there was not written by `alpamayo-export`.
        AlpamayoError: nobody answers there, or no Alpamayo server.
    """
    with AlpamayoClient(url) as client:
        if "checkpoint" not in client.metadata():
            raise DemoError(f"{url} serves a model `alpamayo`, but none that alpamayo-export wrote")
        yield client
