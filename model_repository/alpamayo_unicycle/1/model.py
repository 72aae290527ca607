import time
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from contract import arrival, parse_parameters
from exported_files import check_files
from stage_metrics import StageMetrics, counters
from triton_adapter import (
    Tensors,
    numpy_input,
    optional_numpy_input,
    parameters_json,
    queue_waker,
    respond,
    version_folder,
)
from unicycle import UnicycleSettings, predict, warm_up

END_TO_END = "end_to_end"  # from the reasoner's start to the answer; Triton's own metrics have the queue before it


class TritonPythonModel:
    """Triton's side of `unicycle.predict`."""

    def initialize(self, args: dict[str, str]) -> None:
        check_files(version_folder(args), pb_utils.Logger.log_info)
        self.settings = UnicycleSettings.load(version_folder(args))
        warm_up(self.settings)
        model = args["model_name"]
        self.metrics = StageMetrics(model, ("unicycle", END_TO_END))
        self.trajectories = counters(
            "alpamayo_trajectories_total",
            "Trajectories, by whether every action is inside the checkpoint's bounds",
            model,
            "within_bounds",
            ("true", "false"),
        )
        self.queue_waker = queue_waker(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        with self.queue_waker.executing():
            return respond(requests, self._answer, self.metrics)

    def _answer(self, request: Any) -> Tensors:
        with self.metrics.checked(request):
            parse_parameters(parameters_json(request))  # it needs none, and refuses unknown ones like the other stages
            arrived_ns = arrival(optional_numpy_input(request, "arrived_ns"), time.monotonic_ns())
        with self.metrics.timed(request, "unicycle"):
            outputs = predict(
                numpy_input(request, "normalized_action"),
                numpy_input(request, "action_owner"),
                numpy_input(request, "ego_history_xyz"),
                numpy_input(request, "ego_history_rot"),
                self.settings,
            )
        self._count(outputs["within_bounds"])
        if arrived_ns is not None:
            self.metrics.observe(END_TO_END, (time.monotonic_ns() - arrived_ns) / 1e9)
        return outputs

    def _count(self, within_bounds: npt.NDArray[np.bool_]) -> None:
        inside = int(within_bounds.sum())
        self.trajectories["true"].increment(inside)
        self.trajectories["false"].increment(within_bounds.size - inside)
