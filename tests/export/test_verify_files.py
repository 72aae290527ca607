"""alpamayo-verify names every file that is not as it was exported, by what it says, not by how it is written."""

from pathlib import Path

import pytest
from alpamayo_export.verify.files import verify_record
from verification import REASONER, by_part, edit, failures, of_files, replaced


def test_a_user_may_set_the_queue(spoilt, opened):
    config = spoilt / "alpamayo_reasoner" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_queue_size: 16", "max_queue_size: 40"))
    assert "40" in config.read_text()
    assert failures(of_files(spoilt, opened)) == set()


@pytest.mark.parametrize("file", ["files.json", "numpy.py"])
def test_what_would_not_load_does_not_pass(spoilt, file):
    path = spoilt / REASONER / file
    path.unlink() if path.exists() else path.touch()
    assert failures(by_part(verify_record(spoilt))) == {"alpamayo_reasoner: files as recorded"}


@pytest.mark.parametrize(
    ("file", "spoil"),
    [
        ("alpamayo/config.pbtxt", replaced('value: "pred_xyz"', 'value: "pred_rot"')),
        ("alpamayo_reasoner/config.pbtxt", replaced("dims: 4", "dims: 5")),
        ("alpamayo_denoiser/config.pbtxt", replaced("TYPE_FP32", "TYPE_BF16")),
        ("alpamayo_denoiser/config.pbtxt", replaced("KIND_CPU", "KIND_GPU")),
        ("alpamayo_unicycle/config.pbtxt", replaced("64, 2", "32, 2")),
        ("alpamayo_unicycle/config.pbtxt", Path.unlink),
        ("alpamayo_reasoner/1/model.py", replaced("secrets.randbelow", "int")),
        ("alpamayo_denoiser/1/denoiser/euler.py", replaced("step / steps", "1 - step / steps")),
        ("alpamayo_unicycle/1/ego_history.py", Path.unlink),
        ("alpamayo_reasoner/1/config.json", replaced('"num_hidden_layers": 4', '"num_hidden_layers": 3')),
        ("alpamayo_reasoner/1/config.json", replaced("{", "")),
        ("alpamayo_reasoner/1/tokenizer.json", replaced("<|cot_end|>", "<|cot_and|>")),
        ("alpamayo_reasoner/1/reasoner.json", edit(max_images=17)),
        ("alpamayo_reasoner/1/reasoner.json", edit(offload=["lm_head"])),
        ("alpamayo_reasoner/1/reasoner.json", edit(random_seed=0)),
        ("alpamayo_denoiser/1/denoiser.json", edit(max_kv_tokens=1 << 20)),
        ("alpamayo_denoiser/1/denoiser.json", edit(max_trajectories=33)),
        ("alpamayo_denoiser/1/denoiser.json", edit(runner="torch")),
        ("alpamayo_unicycle/1/unicycle.json", edit(v_ridge=1.001e-4)),
        ("tritonserver_flags", replaced("stub-timeout-seconds=60", "stub-timeout-seconds=6")),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_a_file_that_is_not_as_exported_is_named(spoilt, opened, file, spoil):
    spoil(spoilt / file)
    found = of_files(spoilt, opened)
    part = f"{file.split('/')[0]}: files that differ"
    assert failures(found) == {part}
    assert found[part].error == 1
    assert file in found[part].note


@pytest.mark.parametrize(
    "change",
    [{"denoiser": "torch"}, {"limits": {"max_images": 8, "max_trajectories": 32, "max_generation_length": 256}}],
    ids=str,
)
def test_a_manifest_that_says_otherwise_than_the_models_fails(spoilt, opened, change):
    edit(**change)(spoilt / "alpamayo.json")
    found = failures(of_files(spoilt, opened))
    assert "alpamayo: files that differ" in found  # where the ensemble carries it
    assert "alpamayo_denoiser: files that differ" in found
