"""Triton's own HTTP endpoint: for tools that speak no gRPC. Parameters and tensors are the same."""

import json
import urllib.request
from urllib.error import HTTPError

import numpy as np
import pytest

from .conftest import SMALL
from .wire import json_body, tensors


def post(server, inputs, parameters, **more):
    url = f"http://{server.http}/v2/models/alpamayo/infer"
    content = json.dumps(json_body(inputs, parameters) | more).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def arrays(answer, like):
    return {
        output["name"]: np.array(output["data"], like[output["name"]].dtype).reshape(output["shape"])
        for output in answer["outputs"]
    }


def test_the_same_answer_as_over_grpc(server, small_scene, first_answer):
    got = arrays(post(server, small_scene, SMALL), first_answer)
    texts = {name: got.pop(name) for name in ("cot", "denoiser_runner")}
    for name, found in texts.items():
        assert [text.encode() for text in found.flat] == first_answer[name].ravel().tolist()
    for name, values in got.items():
        np.testing.assert_allclose(values, first_answer[name], rtol=1e-6, err_msg=name)
    assert got.keys() | texts.keys() == first_answer.keys()


def test_what_triton_s_protocol_adds_is_no_unknown_parameter(server, small_scene, first_answer):
    own = {"binary_data_output": False, "timeout": 60_000_000, "priority": 0}
    answer = post(server, small_scene, SMALL | own, id="scene 7", outputs=[{"name": "pred_xyz"}, {"name": "seed"}])
    assert answer["id"] == "scene 7"
    got = arrays(answer, first_answer)
    assert got.keys() == {"pred_xyz", "seed"}
    np.testing.assert_allclose(got["pred_xyz"], first_answer["pred_xyz"], rtol=1e-6)


@pytest.mark.parametrize(
    ("parameter", "words"),
    [({"num_samples": 3}, "num_traj_samples"), ({"temperature": "hot"}, "temperature"), ({"seed": 1e3}, "an integer")],
)
def test_a_wrong_parameter_is_refused(server, small_scene, assert_still_serving, parameter, words):
    with pytest.raises(HTTPError) as refusal:
        post(server, small_scene, parameter)
    assert refusal.value.code == 400
    assert words in json.load(refusal.value)["error"]
    assert_still_serving()


def test_grpc_s_own_options_are_no_unknown_parameters(triton, small_scene, first_answer):
    result = triton.infer(
        "alpamayo",
        tensors(small_scene),
        parameters=SMALL,
        request_id="scene 7",
        sequence_id=3,
        sequence_start=True,
        sequence_end=True,
        priority=1,
        timeout=60_000_000,
        headers={"x-robot": "seven"},
    )
    assert result.get_response().id == "scene 7"
    np.testing.assert_array_equal(result.as_numpy("pred_xyz"), first_answer["pred_xyz"])
