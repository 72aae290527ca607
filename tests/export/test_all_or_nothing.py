"""An export writes all of a repository or nothing of it."""

import pytest
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.errors import ExportError
from alpamayo_export.export import Options, export
from alpamayo_export.repository import replacing
from exported import contents, old_repository


def test_a_failed_export_leaves_the_old_repository_as_it_was(copy, tmp_path, limits):
    """This one fails late, with files written: the type is not looked at before it is needed."""
    copy.edit_config(lambda config: config.update(model_dtype="float33"))
    output = old_repository(tmp_path / "repository")
    before = contents(output)
    with pytest.raises(ExportError, match="model_dtype 'float33' is no floating-point type"):
        export(open_checkpoint(str(copy.folder)), output, Options("fp32", "auto", limits))
    assert contents(output) == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "repository"}


def test_a_failed_export_leaves_nothing_where_nothing_was(tmp_path):
    def write_and_fail():
        with replacing(tmp_path / "repository") as new:
            (new / "alpamayo.json").write_text("{}")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_fail()
    assert list(tmp_path.iterdir()) == []


def test_a_repository_appears_when_it_is_complete_and_not_before(tmp_path):
    output = old_repository(tmp_path / "repository")
    with replacing(output) as new:
        (new / "alpamayo.json").write_text('{"new": true}')
        assert set(contents(output)) == {"alpamayo.json", "alpamayo_retired/config.pbtxt"}
        assert new.parent.parent == output.parent  # a rename away, on one file system
    assert contents(output) == {"alpamayo.json": b'{"new": true}'}
    assert list(tmp_path.iterdir()) == [output]


def test_an_empty_folder_and_a_new_parent_are_fine(tmp_path):
    (tmp_path / "empty").mkdir()
    for output in (tmp_path / "empty", tmp_path / "new" / "parents" / "repository"):
        with replacing(output) as new:
            (new / "alpamayo.json").write_text("{}")
        assert (output / "alpamayo.json").is_file()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_repository_is_not_replaced(tmp_path, kind):
    output = tmp_path / "precious"
    if kind == "folder":
        output.mkdir()
        (output / "thesis.txt").write_text("precious")
    else:
        output.write_text("precious")
    with pytest.raises(ExportError, match=r"exists and holds no alpamayo\.json"), replacing(output):
        pass
    assert b"precious" in (contents(tmp_path).values())
    assert list(tmp_path.iterdir()) == [output]
