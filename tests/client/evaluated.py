"""Rows of an evaluation, made of prepared answers."""

import numpy as np
from alpamayo_client.evaluation.results import write_results
from alpamayo_client.evaluation.rows import answered_row, failed_row
from alpamayo_client.evaluation.source import SceneKey
from alpamayo_client.prediction import parse_response
from little_triton import answer, response_message
from tritonclient.grpc import InferResult

SETTINGS = {"source": {"folder": "scenes"}, "parameters": {"seed": 1}, "model": {"precision": "fp32"}}


def predicted(sets=1, samples=1, **changes):
    return parse_response(InferResult(response_message(answer(sets, samples, **changes))))


def row(scene_id, scene, prediction=None, t0_us=None, latency_s=0.5, fingerprint="as it was"):
    return answered_row(SceneKey(scene_id, t0_us), fingerprint, scene, prediction or predicted(), latency_s)


def failed(scene_id, words="it is broken"):
    return failed_row(SceneKey(scene_id, None), ValueError(words))


def results(folder, rows, source=None):
    path = folder / "results.parquet"
    write_results(path, SETTINGS | ({"source": source.identity} if source else {}), rows)
    return path


def aside(metres, sets=1, samples=1):
    """An answer whose every trajectory is so far to the left of the prepared one."""
    xyz = answer(sets, samples)["pred_xyz"].copy()
    xyz[..., 1] = metres
    return predicted(sets, samples, pred_xyz=xyz.astype(np.float32))
