"""A checkpoint, exported and served for as long as a block runs."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alpamayo_client import AlpamayoClient
from alpamayo_serve.serving import serving

CHECKPOINT = Path(__file__).resolve().parents[1] / "checkpoint"


@contextmanager
def served(checkpoint: Path) -> Iterator[AlpamayoClient]:
    """A client of it. Raises ExportError if there is no such checkpoint, LaunchError if the server does not start."""
    # Imported late: who drives without a model, or asks a server that runs, should not wait for torch.
    from alpamayo_export.export import Options, export, open_checkpoint
    from alpamayo_export.limits import Limits

    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        export(open_checkpoint(str(checkpoint)), repository, Options("auto", "auto", Limits(16, 32, 256)))
        with (
            serving(repository, Path(folder) / "log") as endpoints,
            AlpamayoClient(f"{endpoints.address}:{endpoints.grpc_port}") as client,
        ):
            yield client
