from typing import Any

from contract import parse_parameters
from triton_adapter import Tensors, numpy_input, respond, version_folder
from unicycle import UnicycleSettings, predict, warm_up


class TritonPythonModel:
    """Triton's side of `unicycle.predict`."""

    def initialize(self, args: dict[str, str]) -> None:
        self.settings = UnicycleSettings.load(version_folder(args))
        warm_up(self.settings)

    def execute(self, requests: list[Any]) -> list[Any]:
        return respond(requests, self._answer)

    def _answer(self, request: Any) -> Tensors:
        parse_parameters(request.parameters())  # it needs none, and refuses unknown ones like the other stages
        return predict(
            numpy_input(request, "normalized_action"),
            numpy_input(request, "action_owner"),
            numpy_input(request, "ego_history_xyz"),
            numpy_input(request, "ego_history_rot"),
            self.settings,
        )
