"""The README keeps its word: its tables come from the committed results, its example runs, its links lead somewhere."""

import math
import re
from pathlib import Path

from alpamayo_demo.road.situations import Situation
from alpamayo_export.limits import KvCache, Limits, max_kv_tokens, tritonserver_flags
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_tables_are_what_the_results_say():
    from readme import rendered

    assert "<!-- golden_cpu.json -->" in README
    assert rendered(README) == README, "run `make readme`"


def test_every_committed_result_has_a_table():
    from readme import rendered

    results = [path.name for path in (ROOT / "benchmarks" / "results").iterdir()]
    assert results
    for name in results:
        assert "\n| " in rendered(f"<!-- {name} -->\n<!-- end -->")


def test_gpu_memory_for_the_kv_cache():
    """At the released size, whose prompt has some 130 tokens besides its images'."""
    for trajectories, words in ((32, "4.1 GB for the hand-over"), (6, "(2.2 GB with\n`--max-trajectories 6`)")):
        tokens = max_kv_tokens(Limits(16, trajectories, 256), 130, min_pixels=163840, max_pixels=196608)
        (pool,) = [f for f in tritonserver_flags(0, KvCache(36, 8, 128, tokens, "bf16").max_bytes, True) if "cuda" in f]
        assert words in README
        assert f"{int(pool.rpartition(':')[2]) / 1e9:.1f} GB" in words


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
    assert f"one of {len(Situation)} sentences" in README


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert named
    assert named <= targets


def test_files_it_names_exist():
    named = set(re.findall(r"\b((?:benchmarks|client|demo|deploy|export|model_repository|tests)/[\w./]+)", README))
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).exists()] == []
