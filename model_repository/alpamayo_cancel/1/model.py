from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from cancellations import CancellationsWriter
from contract import parse_parameters
from exported_files import check_files
from request_id import check_id
from stage_metrics import StageMetrics
from triton_adapter import Tensors, numpy_input, parameters_json, respond, version_folder


class TritonPythonModel:
    """Triton's side of `cancellations`."""

    def initialize(self, args: dict[str, str]) -> None:
        check_files(version_folder(args), pb_utils.Logger.log_info)
        self.cancellations = CancellationsWriter()
        self.metrics = StageMetrics(args["model_name"], ())

    def execute(self, requests: list[Any]) -> list[Any]:
        return respond(requests, self._answer, self.metrics)

    def _answer(self, request: Any) -> Tensors:
        with self.metrics.checked(request):
            parse_parameters(parameters_json(request))  # it needs none, and refuses unknown ones like the stages
            request_id = check_id(numpy_input(request, "request_id"))
        noted = self.cancellations.add(request_id)
        return {"noted": np.array([noted])}
