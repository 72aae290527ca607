"""Bad input to `python -m alpamayo_demo.train` is refused before anything is rendered."""

import pytest
from alpamayo_demo.errors import DemoError
from alpamayo_demo.road.situations import Situation
from alpamayo_demo.train import scenes_on_disk
from alpamayo_demo.train.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--steps", "0"], "--steps: got 0, wanted at least 1"),
        (["--batch", "0"], "--batch: got 0, wanted at least 1"),
        (["--workers", "-1"], "--workers: got -1, wanted at least 1"),
        (["--scenes", "31"], "got 31, wanted at least 32"),
        (["--seed", "-1"], "--seed: got -1, wanted at least 0"),
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


@pytest.fixture
def render_one_chunk(monkeypatch):
    """Of as many scenes as there are situations."""
    monkeypatch.setattr(scenes_on_disk, "CHUNK", len(Situation))

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
    (tmp_path / "version").write_text("another")
    with pytest.raises(DemoError, match="rendered by another version of the road; remove it"):
        render_one_chunk(tmp_path)


def test_a_damaged_file_of_scenes_is_named(tmp_path, render_one_chunk):
    render_one_chunk(tmp_path)
    (tmp_path / "00000.npz").write_bytes(b"PK of a disk that was full")
    with pytest.raises(DemoError, match=r"00000\.npz: damaged"):
        render_one_chunk(tmp_path)
