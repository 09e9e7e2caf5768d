"""Files and folders that appear whole or not at all."""

from pathlib import Path

import pytest

from bayessoft.data import writers
from bayessoft.data.writers import written_aside
from bayessoft.errors import StoreError


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError, SystemExit])
def test_a_stop_while_writing_leaves_what_was_there(tmp_path, stop):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(stop), written_aside(target) as aside:
        aside.mkdir()
        (aside / "new").write_text("half")
        raise stop
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("folder"), Path("folder/old")]


def test_a_stop_between_the_two_renames_brings_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")
    replace = writers.os.replace

    def interrupted(source, to):
        if Path(to) == target and Path(source).name == "folder" and (Path(source) / "new").exists():
            raise KeyboardInterrupt
        replace(source, to)

    monkeypatch.setattr(writers.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), written_aside(target) as aside:
        aside.mkdir()
        (aside / "new").write_text("whole")
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("folder"), Path("folder/old")]


def test_files_and_folders_replace_each_other(tmp_path):
    target = tmp_path / "result"
    for folder in (False, False, True, True, False):
        with written_aside(target) as aside:
            aside.mkdir() if folder else aside.write_text("file")
        assert target.is_dir() == folder
        assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot write .*: No such file or directory: choose a folder"):
        with written_aside(tmp_path / "nowhere" / "file"):
            pytest.fail("there is no place to write")
    assert not writers._workshops


def test_what_is_in_hand_can_be_abandoned(tmp_path):
    with pytest.raises(FileNotFoundError), written_aside(tmp_path / "file") as aside:
        aside.write_text("half")
        assert writers.abandon()
        assert not list(tmp_path.iterdir())
    assert writers.abandon()


def test_a_result_that_takes_its_name_is_not_abandoned(tmp_path, monkeypatch):
    replace = writers.os.replace

    def stopped(source, to):
        assert not writers.abandon()
        replace(source, to)

    monkeypatch.setattr(writers.os, "replace", stopped)
    with written_aside(tmp_path / "file") as aside:
        aside.write_text("whole")
    assert (tmp_path / "file").read_text() == "whole"
