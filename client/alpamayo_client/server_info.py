"""What the server says about itself: which models make up the ensemble, what was exported, what each stage took."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ServerError

ENSEMBLE = "alpamayo"
CANCEL = "alpamayo_cancel"
METADATA_PARAMETER = "alpamayo"
"""Key of the ensemble configuration's parameter that holds what export recorded, as JSON."""


@dataclass(frozen=True)
class StageTime:
    """Requests that one model answered, refusals among them, and the seconds spent on all of them together."""

    requests: int
    queue_s: float
    compute_s: float
    """Running the model, and moving its inputs and outputs."""

    @property
    def mean_compute_s(self) -> float:
        """Seconds of computing per request; 0 without requests."""
        return self.compute_s / self.requests if self.requests else 0.0


def stage_names(config: Any) -> list[str]:
    """The models of the ensemble in their order, from its configuration (`ModelConfig`)."""
    return [step.model_name for step in config.ensemble_scheduling.step]


def parse_metadata(server: Any, config: Any) -> dict[str, Any]:
    """`{"server": {"name", "version"}, **recorded}` from `ServerMetadataResponse` and `ModelConfig`.

    `recorded` is what export wrote about the repository; nothing if the repository was not written by it.
    """
    about: dict[str, Any] = {"server": {"name": server.name, "version": server.version}}
    if METADATA_PARAMETER not in config.parameters:
        return about
    text = config.parameters[METADATA_PARAMETER].string_value
    try:
        recorded: dict[str, Any] = json.loads(text)
        return about | recorded
    except (ValueError, TypeError) as error:
        raise ServerError(
            f"parameter {METADATA_PARAMETER} of model {config.name} is not a JSON object: {text!r}"
        ) from error


def parse_stage_times(statistics: Any, stages: list[str]) -> dict[str, StageTime]:
    """Totals since the server started, from `ModelStatisticsResponse`, for each of `stages` in that order."""
    times = {name: StageTime(0, 0.0, 0.0) for name in stages}
    for model in statistics.model_stats:
        if model.name in times:
            stats, old = model.inference_stats, times[model.name]
            compute_ns = stats.compute_input.ns + stats.compute_infer.ns + stats.compute_output.ns
            times[model.name] = StageTime(  # versions of one model add up
                old.requests + stats.success.count,
                old.queue_s + stats.queue.ns * 1e-9,
                old.compute_s + compute_ns * 1e-9,
            )
    return times


def is_settled(times: Mapping[str, StageTime]) -> bool:
    """Every stage has counted as many requests. Triton counts one shortly after it was answered."""
    return len({time.requests for time in times.values()}) <= 1


def times_since(now: Mapping[str, StageTime], before: Mapping[str, StageTime]) -> dict[str, StageTime]:
    """What happened between two snapshots."""
    return {
        name: StageTime(
            time.requests - before[name].requests,
            time.queue_s - before[name].queue_s,
            time.compute_s - before[name].compute_s,
        )
        for name, time in now.items()
        if name in before
    }
