"""The exported step as a TensorRT engine: built where it serves, and kept beside the graph for the next start."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from contract import KV_BUCKET

from denoiser.graph_inputs import graph_shapes
from denoiser.request import DenoiserSettings

USUAL_TOKENS, USUAL_TRAJECTORIES = 13 * KV_BUCKET, 6  # what it is tuned for: 16 images, and a request for six
_CHUNK_BYTES = 1 << 24
_OPTIONS = ("float32 is not TF32", "memory for activations is the caller's")  # of every engine
# TensorRT, TensorRT for RTX, and the names that the latter's modules have on PyPI.
_PACKAGES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
_LIBRARIES = {"tensorrt_rtx_bindings": "tensorrt_rtx_libs"}

Log = Callable[[str], None]
Load = Callable[[bytes], Any]
Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]  # of each input whose shape may vary: the least, usual, largest one


def profile_of(settings: DenoiserSettings) -> Profile:
    """The shapes that an engine is built for: from one token and trajectory up to the repository's limits."""
    most = settings.max_kv_tokens, settings.max_trajectories
    usual = min(USUAL_TOKENS, most[0]), min(USUAL_TRAJECTORIES, most[1])
    least, usually, at_most = (graph_shapes(settings, *sizes) for sizes in ((1, 1), usual, most))
    return {name: (least[name], usually[name], at_most[name]) for name in least if least[name] != at_most[name]}


def tensorrt() -> Any:
    """The first of its packages that is installed. Raises RuntimeError."""
    broken = ""
    for name in _PACKAGES:
        try:
            if name in _LIBRARIES:
                import_module(_LIBRARIES[name])  # loads the libraries that the bindings link to
            return import_module(name)
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            broken += f"; {name} is there, and cannot be loaded: {error}"
    raise RuntimeError(
        "TensorRT is not installed: pip install tensorrt, or tensorrt-rtx-cu13-libs and tensorrt-rtx-cu13-bindings"
        + broken
    )


def open_engine(trt: Any, graph: Path, profile: Profile, gpu: str, load: Load, log: Log) -> Any:
    """The engine kept beside `graph`, if it is of this graph, this TensorRT, this profile and this `gpu`; else it is
    built, and kept instead where the folder can be written to.

    Args:
        trt: TensorRT.
        graph: the exported step.
        profile: sizes that it is built for.
        gpu: which one, in words.
        load: of a serialized engine; None if it cannot be loaded.
        log: told when it takes long, and why.

    Raises:
        RuntimeError: TensorRT cannot build it, or not load what it has built.
    """
    key = {
        "tensorrt": f"{trt.__name__} {trt.__version__}",
        "gpu": gpu,
        "graph": _sha256(graph),
        "profile": profile,
        "options": _OPTIONS,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    kept = graph.with_name(f"{graph.stem}-{digest[:16]}.engine")
    if kept.exists():
        engine = load(kept.read_bytes())
        if engine is not None:
            return engine
        log(f"{kept} cannot be loaded, so it is built again")
    log(f"building a {key['tensorrt']} engine for {gpu}")
    serialized = build_engine(trt, graph, profile)
    engine = load(serialized)
    if engine is None:
        raise RuntimeError(f"{key['tensorrt']} cannot load the engine that it has built of {graph} for {gpu}")
    try:
        _keep(serialized, kept)
    except OSError as error:
        log(f"the engine cannot be kept, the next start builds it again: {error}")
    return engine


def _keep(serialized: bytes, kept: Path) -> None:
    """In the place of all others of that graph; whole or not at all, whoever else writes there."""
    with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".partial", delete=False) as file:
        try:
            file.write(serialized)
            file.flush()
            Path(file.name).rename(kept)
        except BaseException:
            Path(file.name).unlink()
            raise
    for other in kept.parent.glob(f"{kept.stem.rpartition('-')[0]}-*.engine"):
        if other != kept:
            other.unlink(missing_ok=True)


def build_engine(trt: Any, graph: Path, profile: Profile) -> bytes:
    """The serialized engine: strongly typed, in the graph's own types; dynamic in KV tokens and trajectories.

    Raises:
        RuntimeError: TensorRT cannot parse or build it, with what it says.
    """
    said: list[str] = []
    builder = trt.Builder(_logger(trt, said))
    network, _parser = parse(trt, builder, graph)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # TensorRT for RTX: else it cannot be recorded
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    sizes = builder.create_optimization_profile()
    for name, shapes in profile.items():
        sizes.set_shape(name, *shapes)
    if config.add_optimization_profile(sizes) < 0:
        raise RuntimeError(f"TensorRT refuses {profile} for {graph}: {'; '.join(said[-3:])}")
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise RuntimeError(f"TensorRT cannot build {graph}: {'; '.join(said[-3:])}")
    return bytes(engine)


def parse(trt: Any, builder: Any, graph: Path) -> tuple[Any, Any]:
    """The graph as a network of that builder, and the parser, which holds its weights. Raises RuntimeError."""
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse_from_file(str(graph)):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise RuntimeError(f"TensorRT cannot parse {graph}: {'; '.join(errors)}")
    return network, parser


def _logger(trt: Any, said: list[str]) -> Any:
    """Keeps errors and warnings in `said`."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                said.append(message)

    return Logger()


def _sha256(graph: Path) -> str:
    """Of the graph, and of the file beside it that holds its weights."""
    digest = hashlib.sha256()
    for path in (graph, graph.with_suffix(".pt2")):
        if path.exists():
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
    return digest.hexdigest()
