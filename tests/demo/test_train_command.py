"""Bad input to `python -m alpamayo_demo.train` is refused before anything is rendered."""

import numpy as np
import pytest
import torch
from alpamayo_demo.errors import DemoError
from alpamayo_demo.road.scenes import Split, scene
from alpamayo_demo.road.situations import Situation
from alpamayo_demo.train import scenes_on_disk
from alpamayo_demo.train.cli import main
from alpamayo_demo.train.loss_plot import plot_losses
from alpamayo_export.checkpoint import open_checkpoint
from PIL import Image


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--steps", "0"], "--steps: got 0, wanted at least 1"),
        (["--batch", "0"], "--batch: got 0, wanted at least 1"),
        (["--workers", "-1"], "--workers: got -1, wanted at least 1"),
        (["--rounds", "-1"], "--rounds: got -1, wanted at least 0"),
        (["--rounds", "1001"], "--rounds: got 1001, wanted at most 1000"),
        (["--workers", "1000000000"], "--workers: got 1000000000, wanted at most 256"),
        (["--scenes", "10000000"], "got 10000000, wanted at most 1000000"),
        (["--scenes", "31"], "got 31, wanted at least 32"),
        (["--seed", "-1"], "--seed: got -1, wanted at least 0"),
        (["--seed", str(2**64)], "--seed: got 18446744073709551616, wanted at most 4294967296"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(arguments, says, tmp_path, capsys):
    folders = ["--output", str(tmp_path / "checkpoint"), "--work", str(tmp_path / "work")]
    assert main([*folders, *arguments]) == 1
    assert says in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_what_is_no_number_is_wrong_usage(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--steps", "many"])
    assert "invalid int value: 'many'" in capsys.readouterr().err


@pytest.mark.usefixtures("small_chunks")
def test_training_writes_a_checkpoint_that_opens_and_a_picture_and_goes_on(tmp_path, capsys):
    work = tmp_path / "work"
    (work / "checkpoint").mkdir(parents=True)  # somebody else's, as everything that is not listed below
    (work / "practice").mkdir()
    (work / "practice" / "notes.txt").touch()
    command = ["--output", str(tmp_path / "checkpoint"), "--work", str(work), "--workers", "1"]
    command += ["--scenes", str(len(Situation)), "--steps", "2", "--batch", "2", "--rounds", "0"]
    assert main(command) == 0
    wrote = f"wrote {tmp_path / 'checkpoint'}; the losses: {work / 'losses.png'}\n"
    assert capsys.readouterr().out == wrote
    trained = open_checkpoint(str(tmp_path / "checkpoint")).denoiser_weights()
    assert trained["action_out_proj.bias"].any()  # which is zero before training
    assert not any((work / "checkpoint").iterdir())
    assert [path.name for path in (work / "practice").iterdir()] == ["notes.txt"]
    with Image.open(work / "losses.png") as picture:
        assert min(picture.size) > 300
    assert main(command) == 0  # has nothing left to do, and writes the same
    again = open_checkpoint(str(tmp_path / "checkpoint")).denoiser_weights()
    assert all(torch.equal(again[name], trained[name]) for name in trained)


@pytest.fixture
def small_chunks(monkeypatch):
    """Of as many scenes as there are situations."""
    monkeypatch.setattr(scenes_on_disk, "CHUNK", len(Situation))


@pytest.fixture
def render_one_chunk(small_chunks):
    def render(folder):
        return scenes_on_disk.rendered_scenes(folder, len(Situation), 1)

    return render


def test_what_is_not_its_own_is_not_overwritten(tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "config.json").write_text("{}")
    assert main(["--output", str(mine), "--work", str(tmp_path / "work")]) == 1
    assert f"--output {mine}: holds something else" in capsys.readouterr().err
    assert [path.name for path in mine.iterdir()] == ["config.json"]
    assert (mine / "config.json").read_text() == "{}"
    assert not (tmp_path / "work" / "scenes").exists()


def test_nowhere_to_write_is_told_before_anything_is_rendered(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file"), "--work", str(tmp_path / "work")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert not (tmp_path / "work" / "scenes").exists()


def test_scenes_are_rendered_once_and_by_this_version_of_the_road(tmp_path, render_one_chunk):
    first = render_one_chunk(tmp_path)
    written = (tmp_path / "00000.npz").stat().st_mtime_ns
    again = render_one_chunk(tmp_path)
    assert (tmp_path / "00000.npz").stat().st_mtime_ns == written
    assert all((first[name] == again[name]).all() for name in first)
    for other in (b"another", b"\xff"):
        (tmp_path / "version").write_bytes(other)
        with pytest.raises(DemoError, match="rendered by another version of the road; remove it"):
            render_one_chunk(tmp_path)


def test_rendered_scenes_are_those_of_the_training_split(tmp_path, render_one_chunk):
    found = render_one_chunk(tmp_path)
    for i, situation in enumerate(Situation):
        np.testing.assert_array_equal(found["image_frames"][i], scene(Split.TRAIN, 0, situation).image_frames)
        assert found["situation"][i] == i


def test_a_damaged_file_of_scenes_is_named(tmp_path, render_one_chunk):
    render_one_chunk(tmp_path)
    (tmp_path / "00000.npz").write_bytes(b"PK of a disk that was full")
    with pytest.raises(DemoError, match=r"00000\.npz: damaged"):
        render_one_chunk(tmp_path)
    with (tmp_path / "00000.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DemoError, match=r"00000\.npz: damaged"):
        render_one_chunk(tmp_path)


@pytest.mark.parametrize("line", ['{"step": 0, "flow"', "3", "[3]"])
def test_a_damaged_log_is_named(tmp_path, line):
    (tmp_path / "log.jsonl").write_text(line)
    with pytest.raises(DemoError, match=r"log\.jsonl: damaged"):
        plot_losses(tmp_path / "log.jsonl", tmp_path / "losses.png", 0)
