"""Whether a server is ready, whether it is at work, and whether somebody is connected to it."""

import re
from pathlib import Path

from alpamayo_model_repository.own_server import get

from alpamayo_serve.endpoints import Endpoints

# Those that wait for a model, and those that a model works on.
_UNDER_WAY = re.compile(r"^(?:nv_inference_pending_request_count|alpamayo_requests_in_progress)\{.*\} (\S+)$", re.M)

ESTABLISHED, EMPTY = "01", "00000000:00000000"  # in /proc/net: a state; bytes to send, and to read


def is_ready(endpoints: Endpoints, path: str) -> bool:
    """Whether a path of the server's health or of a model's answers that it is."""
    return get(endpoints.http, path) is not None


def requests_under_way(endpoints: Endpoints) -> int | None:
    """How many there are in all models, by the metrics; None if the server does not say."""
    text = get(endpoints.metrics, "/metrics")
    return None if text is None else int(sum(map(float, _UNDER_WAY.findall(text))))


def idle_http_connections(endpoints: Endpoints) -> int:
    """How many are open to its HTTP port; 0 as well while one of them has bytes to carry, as of an answer whose reader
    is slow.
    """
    lines = [
        line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    ours = f"{endpoints.http_port:04X}"
    queues = [
        queues for _, local, _, state, queues, *_ in lines if local.rpartition(":")[2] == ours and state == ESTABLISHED
    ]
    return len(queues) if all(it == EMPTY for it in queues) else 0
