"""Only the user of the server may use the journal's files."""

import os
import stat
from pathlib import Path

import pytest
from twisted.internet import reactor

from reverb.webhooks.interfaces import JournalError
from reverb.webhooks.single.journal import JournalContents
from reverb.webhooks.single.sqlite import FILE_NAME, SqliteJournalStorage
from tests.support.waiting import wait

pytestmark = pytest.mark.outside_reactor

OLD_MODES = [0o644, 0o666, 0o640, 0o604, 0o400, 0o755]


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o177])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def modes_while_open(directory):
    """The modes of the directory's files while a storage has written something."""
    storage = SqliteJournalStorage(str(directory), reactor, pytest.fail)
    storage.open(JournalContents())
    storage.put_reported(("1", "news", ""))
    wait(storage.written())
    modes = {path.name: mode(path) for path in directory.iterdir()}
    wait(storage.close())
    return modes


def test_new_files(tmp_path, umask):
    directory = tmp_path / "state"
    assert modes_while_open(directory) == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600}
    assert mode(directory) == 0o700 & ~umask


def test_missing_parents_are_created(tmp_path):
    directory = tmp_path / "var" / "lib" / "reverb"
    modes_while_open(directory)
    assert mode(directory) == 0o700


@pytest.mark.parametrize("old", OLD_MODES)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_existing_files_are_corrected(tmp_path, old, suffix):
    directory = tmp_path / "state"
    modes_while_open(directory)
    directory.chmod(0o755)
    path = directory / f"{FILE_NAME}{suffix}"
    path.touch()
    path.chmod(old)

    assert set(modes_while_open(directory).values()) == {0o600}
    assert mode(directory) == 0o700


def test_a_directory_with_files_of_others_keeps_its_mode(tmp_path):
    directory = tmp_path / "shared"
    directory.mkdir(mode=0o755)
    (directory / "reverb.sock").touch(mode=0o644)
    assert modes_while_open(directory)[FILE_NAME] == 0o600
    assert mode(directory) == 0o755
    assert mode(directory / "reverb.sock") == 0o644


def test_a_file_of_another_user_is_refused(tmp_path, monkeypatch):
    (tmp_path / FILE_NAME).touch()
    (tmp_path / FILE_NAME).chmod(0o644)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(JournalError, match=r"can be used by other users.*or its mode to 600"):
        SqliteJournalStorage(str(tmp_path), reactor, pytest.fail).open(JournalContents())


def test_a_private_file_of_another_user_is_not_changed(tmp_path, monkeypatch):
    (tmp_path / FILE_NAME).touch()
    (tmp_path / FILE_NAME).chmod(0o700)
    monkeypatch.setattr(Path, "chmod", lambda *_: (_ for _ in ()).throw(PermissionError))
    modes_while_open(tmp_path)
    assert mode(tmp_path / FILE_NAME) == 0o700


def test_a_directory_of_another_user_keeps_its_mode(tmp_path, monkeypatch):
    directory = tmp_path / "state"
    directory.mkdir()
    directory.chmod(0o775)
    monkeypatch.setattr(os, "geteuid", lambda: -1)
    assert modes_while_open(directory)[FILE_NAME] == 0o600
    assert mode(directory) == 0o775
