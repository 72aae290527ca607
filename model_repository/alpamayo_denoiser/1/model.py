import time
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils
from cancellations import Cancellations
from contract import HandOverFailed, deadline_after, parse_parameters, stop_check
from cuda_graph import record
from denoiser.euler import denoise
from denoiser.hand_over import REASONS, check_hand_over
from denoiser.request import DenoiserRequest, DenoiserSettings, check_request, example_request
from denoiser.runners import open_runner
from denoiser.tensorrt_engine import USUAL_TOKENS
from denoiser.velocity import Denoiser
from exported_files import check_files
from stage_metrics import StageMetrics, counters
from triton_adapter import (
    Tensors,
    dlpack_input,
    given_up,
    optional_numpy_input,
    parameters_json,
    queue_waker,
    respond,
    version_folder,
)

MEMORIES = ("gpu", "host")


class TritonPythonModel:
    """Triton's side of `denoiser`."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = version_folder(args)
        check_files(folder, pb_utils.Logger.log_info)
        gpu = args["model_instance_kind"] == "GPU"
        if gpu:
            torch.cuda.set_device(int(args["model_instance_device_id"]))
        self.device = torch.device("cuda", int(args["model_instance_device_id"])) if gpu else torch.device("cpu")
        self.settings = DenoiserSettings.load(folder)
        self.cancellations = Cancellations()
        log = pb_utils.Logger.log_info
        self.denoiser = Denoiser(open_runner(folder, self.device, self.settings, log), self.settings, record, log)
        self.infos = pb_utils.MetricFamily(  # a metric goes with its family
            name="alpamayo_denoiser_info",
            description="What runs the denoising step, and in which precision; the number is always 1",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        runner = {"runner": self.denoiser.runner.name, "precision": self.settings.precision}
        self.info = self.infos.Metric(labels={"model": args["model_name"], **runner})
        self.info.set(1)
        model = args["model_name"]
        self.metrics = StageMetrics(model, ("denoise",))
        self.refused = counters(
            "alpamayo_kv_cache_refused_total",
            "KV caches that did not arrive as the reasoner sent them",
            model,
            "reason",
            REASONS,
        )
        self.arrived = counters(
            "alpamayo_kv_caches_total", "KV caches, by the memory in which they arrived", model, "memory", MEMORIES
        )
        self.arrived_bytes = counters(
            "alpamayo_kv_cache_bytes_total", "Bytes of KV caches, by where they arrived", model, "memory", MEMORIES
        )
        for trajectories in (1, min(6, self.settings.max_trajectories)):
            tokens = min(USUAL_TOKENS, self.settings.max_kv_tokens)
            example = example_request(self.settings, tokens, trajectories, self.device)
            denoise(self.denoiser.bind(example, recurs=False), example.noise, steps=1)
        self.queue_waker = queue_waker(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        with self.queue_waker.executing():
            return respond(requests, self._answer, self.metrics)

    def _answer(self, request: Any) -> Tensors:
        arrived_ns = time.monotonic_ns()
        with self.metrics.checked(request):
            parameters = parse_parameters(parameters_json(request))
            deadline = optional_numpy_input(request, "deadline_ns")
            deadline_ns = deadline_after(parameters.deadline_ms, arrived_ns) if deadline is None else int(deadline[0])
            names = ("kv_cache", "kv_owner", "action_owner", "action_position", "noise")
            tensors = {name: torch.utils.dlpack.from_dlpack(dlpack_input(request, name)) for name in names}
            self._count(tensors["kv_cache"])
            try:
                check_hand_over(tensors["kv_cache"], optional_numpy_input(request, "kv_checksum"), self.device)
            except HandOverFailed as error:
                self.refused[error.reason].increment(1)
                raise
            packed = DenoiserRequest(**{name: tensor.to(self.device) for name, tensor in tensors.items()})
            check_request(packed, self.settings)
        stop = stop_check(given_up(request, self.cancellations), deadline_ns)
        in_pool = tensors["kv_cache"].device == self.device  # if not, it has been copied to where none comes again
        with self.metrics.timed(request, "denoise"):
            action = denoise(self.denoiser.bind(packed, in_pool), packed.noise, parameters.inference_steps, stop).cpu()
        runner = np.array([self.denoiser.runner.name.encode()], dtype=np.object_)
        return {"normalized_action": action, "denoiser_runner": runner}

    def _count(self, kv_cache: torch.Tensor) -> None:
        memory = "gpu" if kv_cache.is_cuda else "host"
        self.arrived[memory].increment(1)
        self.arrived_bytes[memory].increment(kv_cache.nbytes)
