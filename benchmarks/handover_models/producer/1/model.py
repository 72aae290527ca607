import json
import time
from typing import Any

import numpy as np
import torch
from kv_checksum import kv_checksum
from stage_metrics import StageMetrics
from triton_adapter import Tensors, numpy_input, respond


class TritonPythonModel:
    """Hands over, in turns, one of two KV caches: what an earlier request left behind cannot pass for this one's."""

    def initialize(self, args: dict[str, str]) -> None:
        self.metrics = StageMetrics(args["model_name"], stages=())
        gpu = args["model_instance_kind"] == "GPU"
        device = torch.device("cuda", int(args["model_instance_device_id"])) if gpu else torch.device("cpu")
        (output,) = [it for it in json.loads(args["model_config"])["output"] if it["name"] == "kv_cache"]
        kv_cache = torch.randn(*output["dims"], dtype=torch.bfloat16, device=device)
        self.kv_caches = [kv_cache, -kv_cache]
        self.checksums = [kv_checksum(it).cpu().numpy() for it in self.kv_caches]  # this waits for the GPU, too

    def execute(self, requests: list[Any]) -> list[Any]:
        return respond(requests, self._answer, self.metrics)

    def _answer(self, request: Any) -> Tensors:
        turn = int(numpy_input(request, "turn")[0]) % 2
        return {
            "kv_cache": self.kv_caches[turn],
            "kv_checksum": self.checksums[turn],
            "handed_ns": np.array([time.monotonic_ns()]),
        }
