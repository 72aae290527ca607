"""Ask over HTTP with nothing but Python's standard library. Ctrl-C gives the call up, and the server stops working.

python ask.py localhost:8000 ../scene '{"seed": 5, "deadline_ms": 2000}'
"""

import json
import struct
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

HISTORY = {"ego_history_xyz": [16, 3], "ego_history_rot": [16, 3, 3]}


def body(scene: Path, parameters: dict[str, float], request_id: str) -> tuple[bytes, bytes]:
    """The JSON, and behind it the frames: JSON has no place for bytes."""
    cameras = [sorted(camera.glob("*.jpg")) for camera in sorted(scene.glob("camera*"))]
    if len({len(frames) for frames in cameras}) != 1 or not cameras[0]:
        raise SystemExit(f"{scene}: wanted folders camera*, each with as many files *.jpg")
    files = [frame.read_bytes() for frames in cameras for frame in frames]
    binary = b"".join(struct.pack("<I", len(file)) + file for file in files)  # each with its length in front
    inputs: list[dict[str, Any]] = [
        {
            "name": "encoded_frames",
            "datatype": "BYTES",
            "shape": [len(cameras), len(files) // len(cameras)],
            "parameters": {"binary_data_size": len(binary)},
        }
    ]
    for name, shape in HISTORY.items():
        data = json.loads((scene / f"{name}.json").read_text())
        inputs.append({"name": name, "datatype": "FP32", "shape": shape, "data": data})
    return json.dumps({"id": request_id, "parameters": parameters, "inputs": inputs}).encode(), binary


def ask(address: str, scene: Path, parameters: dict[str, float]) -> dict[str, list[Any]]:
    """The answer's tensors by name, each as one flat list."""
    request_id = str(uuid.uuid4())
    header, binary = body(scene, parameters, request_id)
    request = Request(
        f"http://{address}/v2/models/alpamayo/infer",
        header + binary,
        {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))},
    )
    try:
        with urlopen(request) as response:
            return {output["name"]: output["data"] for output in json.load(response)["outputs"]}
    except KeyboardInterrupt:
        cancel(address, request_id)
        raise


def cancel(address: str, request_id: str) -> None:
    """Who only hangs up lets the server go on: this tells it."""
    given_up = {"name": "request_id", "datatype": "BYTES", "shape": [1], "data": [request_id]}
    content = json.dumps({"inputs": [given_up]}).encode()
    urlopen(Request(f"http://{address}/v2/models/alpamayo_cancel/infer", content), timeout=5).close()


def main(address: str, scene: str, parameters: str = "{}") -> str | None:
    """Prints the first trajectory and its thought. Returns what went wrong, in the server's words if it has some."""
    try:
        answer = ask(address, Path(scene), json.loads(parameters))
    except HTTPError as error:
        return str(json.load(error)["error"])
    except URLError as error:
        return f"{address}: {error.reason}"
    except KeyboardInterrupt:
        return "given up, and the server was told"
    print(f"thought: {json.dumps(answer['cot'][0])}")
    print(f"seed: {answer['seed'][0]}")
    for i in range(64):
        x, y = answer["pred_xyz"][3 * i : 3 * i + 2]
        print(f"{(i + 1) / 10:.1f} s: {x:.3f} m ahead, {y:.3f} m to the left")
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
