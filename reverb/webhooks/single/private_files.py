"""Makes the journal's files private, because the journal contains the events of all apps.

The mode of the files does not depend on the process's umask: under systemd and in containers, the
umask is often 022, which lets other users read new files.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from reverb.webhooks.interfaces import JournalError

_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_OTHERS = 0o077
_SUFFIXES = ("", "-wal", "-shm", "-journal")
"""The suffixes of the names of a database's files. SQLite gives the files that it adds the mode of
the database's file."""


def make_private(path: Path) -> None:
    """Create a database's file and directory if they are missing, and make them private.

    Only the owner may use a private file or directory. A directory that has other files keeps its
    mode, because other users may need these files.

    Args:
        path: The path of the database's file. A new file is empty, and SQLite accepts an
            empty file as a new database.

    Raises:
        OSError: The file or the directory cannot be created.
        JournalError: Other users can use a file, and this process may not change the file's mode.
    """
    try:
        path.parent.mkdir(mode=_DIRECTORY_MODE)
    except FileNotFoundError:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
    except FileExistsError:
        _restrict_directory(path)
    # An existing file is not opened, because closing it would release this process's SQLite locks.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE))
    for file in _files(path):
        _restrict_file(file)


def _files(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _SUFFIXES]


def _restrict_directory(path: Path) -> None:
    directory = path.parent
    if not directory.is_dir():
        return  # SQLite will report the problem.
    status = directory.stat()
    is_shared = stat.S_IMODE(status.st_mode) & _OTHERS and status.st_uid == os.geteuid()
    if is_shared and set(directory.iterdir()) <= set(_files(path)):
        directory.chmod(_DIRECTORY_MODE)


def _restrict_file(file: Path) -> None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) == _FILE_MODE:
        return
    try:
        file.chmod(_FILE_MODE)
    except PermissionError:
        if stat.S_IMODE(status.st_mode) & _OTHERS:
            raise JournalError(
                f"can be used by other users, and belongs to one (user id {status.st_uid}): "
                f"change the owner of {file.name} to the user of this server, or its mode to 600"
            ) from None
