import secrets
import time
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as pb_utils
from cancellations import Cancellations
from contract import MAX_SEED, deadline_after, stop_check
from cuda_graph import record
from exported_files import check_files
from kv_checksum import kv_checksum
from reasoner.laps import Laps
from reasoner.reasoner import Reasoner, Thoughts
from reasoner.request import parse_request
from reasoner.sampling import trajectory_noise
from reasoner.warm_up import warm_up
from server_stopping import raise_if_server_stops
from stage_metrics import StageMetrics, counters
from triton_adapter import (
    Tensors,
    given_up,
    optional_input,
    optional_numpy_input,
    parameters_json,
    queue_waker,
    respond,
    version_folder,
)

ON_HOST = ("encoded_frames", "ego_history_xyz", "ego_history_rot", "noise", "reasoning")


class TritonPythonModel:
    """Triton's side of `reasoner`."""

    def initialize(self, args: dict[str, str]) -> None:
        check_files(version_folder(args), pb_utils.Logger.log_info)
        gpu = args["model_instance_kind"] == "GPU"
        if gpu:
            torch.cuda.set_device(int(args["model_instance_device_id"]))
        device = torch.device("cuda", int(args["model_instance_device_id"])) if gpu else torch.device("cpu")
        self.reasoner = Reasoner(version_folder(args), device, record if gpu else None, pb_utils.Logger.log_info)
        warm_up(self.reasoner)
        self.cancellations = Cancellations()
        model = args["model_name"]
        self.metrics = StageMetrics(model, ("decode_images", "preprocess", "prefill", "decode"))
        self.tokens = counters("alpamayo_tokens_total", "Tokens of thoughts", model, "origin", ("generated", "given"))
        self.thoughts = counters(
            "alpamayo_thoughts_total",
            "Generated thoughts, by whether the stop token came within max_generation_length",
            model,
            "complete",
            ("true", "false"),
        )
        self.queue_waker = queue_waker(args)

    def execute(self, requests: list[Any]) -> list[Any]:
        with self.queue_waker.executing():
            return respond(requests, self._answer, self.metrics)

    def _answer(self, request: Any) -> Tensors:
        arrived_ns = time.monotonic_ns()
        laps = Laps(self.reasoner.device)
        with self.metrics.measured(request, laps.seconds):
            raise_if_server_stops()
            inputs = {name: optional_numpy_input(request, name) for name in ON_HOST}
            inputs["image_frames"] = optional_input(request, "image_frames")
            scene = parse_request(inputs, parameters_json(request), self.reasoner.settings)
            seed = secrets.randbelow(MAX_SEED + 1) if scene.parameters.seed is None else scene.parameters.seed
            deadline_ns = deadline_after(scene.parameters.deadline_ms, arrived_ns)
            stop = stop_check(given_up(request, self.cancellations), deadline_ns)
            thoughts = self.reasoner.think(scene, seed, stop, laps.enter)
        sets, samples = scene.parameters.num_traj_sets, scene.num_traj_samples
        self._count(thoughts, given=len(scene.reasoning or []))
        noise = trajectory_noise(seed, sets, samples).numpy() if scene.noise is None else scene.noise
        cot = [self.reasoner.tokenizer.chain_of_causation(tokens).encode() for tokens in thoughts.tokens]
        return {
            "kv_cache": thoughts.kv_cache,
            "kv_checksum": kv_checksum(thoughts.kv_cache).cpu().numpy(),
            "kv_owner": thoughts.kv_owner,
            "action_owner": np.tile(np.arange(samples, dtype=np.int32), sets),
            "action_position": np.tile(thoughts.action_position.numpy(), sets),
            "noise": noise,
            "arrived_ns": np.array([arrived_ns]),
            "deadline_ns": np.array([deadline_ns]),
            "cot": np.tile(np.array(cot, dtype=np.object_), (1, sets, 1)),
            "reasoning_complete": np.tile(np.array(thoughts.complete), (1, sets, 1)),
            "seed": np.array([seed]),
        }

    def _count(self, thoughts: Thoughts, given: int) -> None:
        lengths = [len(tokens) for tokens in thoughts.tokens]
        own = len(lengths) - given
        self.tokens["generated"].increment(sum(lengths[:own]))
        self.tokens["given"].increment(sum(lengths[own:]))
        complete = sum(thoughts.complete[:own])
        self.thoughts["true"].increment(complete)
        self.thoughts["false"].increment(own - complete)
