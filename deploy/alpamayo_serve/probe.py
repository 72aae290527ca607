"""What the launcher asks the server over HTTP: whether it is ready, and whether it is at work."""

import http.client
import re

from alpamayo_serve.endpoints import Endpoints

PROBE_TIMEOUT_S = 2.0
# Those that wait for a model, and those that a model works on.
_UNDER_WAY = re.compile(r"^(?:nv_inference_pending_request_count|alpamayo_requests_in_progress)\{.*\} (\S+)$", re.M)


def is_ready(endpoints: Endpoints, path: str) -> bool:
    """Whether a path of the server's health or of a model's answers that it is."""
    return _get(endpoints.address, endpoints.http_port, path) is not None


def requests_under_way(endpoints: Endpoints) -> int | None:
    """How many there are in all models, by the metrics; None if the server does not say."""
    text = _get(endpoints.address, endpoints.metrics_port, "/metrics")
    return None if text is None else int(sum(map(float, _UNDER_WAY.findall(text))))


def _get(address: str, port: int, path: str) -> str | None:
    """The body; None unless the status is 200."""
    # Not urllib, which would ask a proxy.
    here = "127.0.0.1" if address == "0.0.0.0" else address
    connection = http.client.HTTPConnection(here, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read().decode(errors="replace") if response.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
