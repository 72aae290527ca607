"""The README keeps its word: its tables come from the committed results, its example runs, its links lead somewhere."""

import json
import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
from alpamayo_client import Scene
from alpamayo_demo.road.situations import Situation
from alpamayo_export import random_checkpoint
from alpamayo_export.checkpoint import weight_shapes
from alpamayo_export.checkpoint_files import sha256
from alpamayo_export.layout import QWEN_TOKENS, make_tokenizer
from alpamayo_export.limits import USUAL_ASPECT, KvCache, Limits, max_kv_tokens, tritonserver_flags
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = (ROOT / "README.md").read_text()


def test_tables_are_what_the_results_say():
    from readme import rendered

    assert "<!-- golden_cpu.json -->" in README
    assert rendered(README) == README, "run `make readme`"


def test_every_committed_result_has_a_table():
    results = [path.name for path in (ROOT / "benchmarks" / "results").iterdir()]
    assert results
    for name in results:
        assert f"<!-- {name} -->\n| " in README
        result = json.loads((RESULTS / name).read_text())
        assert result["gpu"] == result["machine"]["gpu"]


def test_gpu_memory_of_the_weights(tmp_path):
    """By the shapes that a checkpoint of the released size must have."""
    tokenizer = make_tokenizer([], QWEN_TOKENS, random_checkpoint.FIRST_QWEN_TOKEN)
    random_checkpoint.write_layout(tmp_path, random_checkpoint._released(36), tokenizer)
    sizes = {name: 2 * math.prod(shape) for name, shape in weight_shapes(tmp_path)[1].items()}
    streamed = ("vlm.model.visual.blocks.", "vlm.model.visual.merger.", "vlm.model.visual.deepstack_merger_list.")
    vision = sum(n for name, n in sizes.items() if name.startswith(streamed))
    embedding = sizes["vlm.model.language_model.embed_tokens.weight"]
    everything = f"{sum(sizes.values()) / 1e9:.1f}"
    (row,) = (cells for cells in rows_of("| GB (10^9 bytes) |") if cells[0] == "weights")
    assert row[1:] == [everything] * 3 + [f"{(sum(sizes.values()) - vision - embedding) / 1e9:.1f}"]
    assert f"the table of tokens ({embedding / 1e9:.1f} GB)" in README
    assert f"the vision tower ({vision / 1e9:.1f} GB)" in README


def test_gpu_memory():
    """At the released size, whose prompt has some 130 tokens besides its images'."""
    table = {cells[0]: cells[1:] for cells in rows_of("| GB (10^9 bytes) |")}
    kv_caches = [
        KvCache(36, 8, 128, max_kv_tokens(Limits(16, k, 256), 130, 163840, 196608, USUAL_ASPECT), "bf16").max_bytes
        for k in (32, 6, 1, 1)
    ]
    pools = [flag for kv in kv_caches for flag in tritonserver_flags(0, kv, True) if "cuda" in flag]
    assert table["Triton's pool, for the hand-over"] == [f"{int(it.rpartition(':')[2]) / 1e9:.1f}" for it in pools]
    assert table["the reasoner's KV cache"] == [f"{kv / 1e9:.1f}" for kv in kv_caches]
    *parts, together = (list(map(float, row)) for name, row in table.items() if name != "GB (10^9 bytes)")
    assert together == [pytest.approx(sum(column)) for column in zip(*parts, strict=True)]


def rows_of(header: str) -> list[list[str]]:
    """The cells of the table that begins so, the line below its header left out."""
    lines = README[README.index(header) :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def test_what_it_says_of_the_demo_checkpoint():
    weights = ROOT / "demo" / "checkpoint" / "model.safetensors"
    with safe_open(weights, "pt") as file:
        sizes = {key: math.prod(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118  # no dict
    vlm = sum(size for key, size in sizes.items() if key.startswith("vlm."))
    said = (
        f"in {weights.stat().st_size / 1e6:.0f} MB (a Qwen3-VL of {vlm / 1e6:.1f} M parameters, an action expert of "
        f"{(sum(sizes.values()) - vlm) / 1e6:.1f} M)"
    )
    assert said in " ".join(README.split())
    assert f"one of {len(Situation)} sentences" in " ".join(README.split())


def test_the_committed_checkpoint_keeps_what_is_promised_of_it():
    """What was measured, of a checkpoint that may be committed; `tests/demo/test_served_driving.py` asks it again."""
    driving = json.loads((RESULTS / "driving_demo.json").read_text())
    model, blind = driving["model"]["overall"], [it["overall"]["min_ade_m"] for it in driving["baselines"].values()]
    assert model["min_ade_m"] < min(1.0, min(blind) / 5)
    assert model["right_situation"] >= 0.95
    assert model["reasoning_complete"] >= 0.99
    assert driving["probes"]["frames_swapped"]["ratio"] >= 3
    assert driving["probes"]["thought_given"]["obeyed"] >= 0.95
    routes = json.loads((RESULTS / "closed_loop_demo.json").read_text())["routes"]
    assert len(routes) >= 10
    assert sum(not route["faults"] for route in routes) >= 0.9 * len(routes)


def test_results_are_of_the_committed_checkpoint_and_a_clean_tree():
    checkpoint = ROOT / "demo" / "checkpoint"
    now = sha256([checkpoint / "config.json", checkpoint / "model.safetensors"])
    for path in RESULTS.glob("*_demo*.json"):
        result = json.loads(path.read_text())
        assert result["served"]["checkpoint"]["sha256"] == now, path.name
        assert "dirty" not in result["machine"]["commit"], path.name


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert named
    assert named <= targets


def test_files_it_names_exist():
    named = set(
        re.findall(r"(?<![\w/])((?:benchmarks|client|demo|deploy|export|model_repository|tests)/[\w./]+)", README)
    )
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_client_s_readme_has_every_array_of_a_scene():
    table = [row for row in (ROOT / "client" / "README.md").read_text().splitlines() if row.startswith("| ")]
    named = {name for row in table for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert {field.name for field in fields(Scene)} <= named
