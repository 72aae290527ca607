"""The server that a model is part of, as it answers over HTTP. A copy goes beside every `model.py`."""

import http.client
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

OWN_SERVER = "ALPAMAYO_OWN_SERVER"
"""An environment variable of the models: an OwnServer, in JSON."""

TIMEOUT_S = 2.0
ANSWER_S = 3600.0  # a knock that comes just as the model begins again is refused, and to be counted, when that ends
EXPIRES_AT_ONCE_US = 1
BYTES = {"TYPE_FP32": 4, "TYPE_BF16": 2, "TYPE_INT32": 4, "TYPE_INT64": 8}
EXPIRED = "timeout expired"  # in Triton's error


def get(address: str, path: str) -> str | None:
    """The body of what is at `path` of `address`, host:port; None unless it came with status 200."""
    # Not urllib, which would ask a proxy.
    with closing(http.client.HTTPConnection(address, timeout=TIMEOUT_S)) as connection:
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.read().decode(errors="replace") if response.status == http.client.OK else None
        except (OSError, http.client.HTTPException):
            return None


def expire(model_config: Mapping[str, Any]) -> bool:
    """Whether the queue of a model with this `config.pbtxt`, as Triton gives it in JSON, refuses requests whose own
    `timeout` is over. Else the model would work on knocks.
    """
    batching = model_config.get("dynamic_batching", {})
    policies = [batching.get("default_queue_policy", {}), *batching.get("priority_queue_policy", {}).values()]
    return all(
        it.get("timeout_action", "REJECT") == "REJECT"
        and it.get("allow_timeout_override", False)
        and int(it.get("default_timeout_microseconds", 0)) > 0  # without one there is nothing to override
        for it in policies
    )


@dataclass(frozen=True)
class OwnServer:
    """Where it answers, host:port, and which headers a request for inference must have."""

    http: str
    metrics: str
    headers: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """For the server's process, and so for its models'."""
        return {OWN_SERVER: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> "OwnServer | None":
        """None where no launcher has said it."""
        text = os.environ.get(OWN_SERVER)
        return cls(**json.loads(text)) if text else None

    def requests_waiting(self, model: str) -> int:
        """In the queue of `model`; 0 if the server does not say."""
        of_model = rf'^nv_inference_pending_request_count\{{model="{re.escape(model)}",.*\}} (\S+)$'
        return int(sum(map(float, re.findall(of_model, get(self.metrics, "/metrics") or "", re.M))))

    def knock(self, model: str, inputs: Sequence[Mapping[str, Any]], priority: int) -> bool:
        """Sends `model` a request that its queue takes and then refuses, for its time is over before anybody can begin
        with it. Returns whether that is what happened: False where the queue had no place.

        Raises OSError and HTTPException.

        Args:
            model: its name.
            inputs: of its `config.pbtxt`, as JSON has them; requests must `expire` in its queue.
            priority: of `config.pbtxt`; each has its own places.
        """
        parameters = {"priority": priority, "timeout": EXPIRES_AT_ONCE_US}
        return EXPIRED in self._ask(model, inputs, parameters)

    def _ask(self, model: str, inputs: Sequence[Mapping[str, Any]], parameters: Mapping[str, int]) -> str:
        """The answer to zeros for every required input, each as small as it may be."""
        tensors, size = [], 0
        for it in (it for it in inputs if not it.get("optional")):
            shape = [max(1, int(length)) for length in it["dims"]]
            length = math.prod(shape) * BYTES[it["data_type"]]
            datatype = it["data_type"].removeprefix("TYPE_")
            binary = {"binary_data_size": length}
            tensors.append({"name": it["name"], "shape": shape, "datatype": datatype, "parameters": binary})
            size += length
        header = json.dumps({"inputs": tensors, "parameters": parameters}).encode()
        headers = {**self.headers, "Inference-Header-Content-Length": str(len(header))}
        with closing(http.client.HTTPConnection(self.http, timeout=ANSWER_S)) as connection:
            connection.request("POST", f"/v2/models/{model}/infer", header + bytes(size), headers)
            return connection.getresponse().read().decode(errors="replace")
