"""What the benchmark compares with computes the reference's answer, too."""

from pathlib import Path

from alpamayo_export.export import open_checkpoint
from reasoner.images import preprocess
from safetensors.torch import load_file


def test_the_baseline_drives_as_the_reference_does(checkpoint):
    from baseline import Baseline

    checkpoint = open_checkpoint(str(checkpoint))
    vectors = load_file(Path(__file__).with_name("golden") / "greedy" / "vectors.safetensors")
    config = checkpoint.config
    images = preprocess(vectors["frames"].flatten(0, 1), config.min_pixels, config.max_pixels)
    action = Baseline(checkpoint)(vectors["prompt_ids"], *images, vectors["noise"], 24, 10)
    assert (action - vectors["action"]).abs().max() < 1e-3
