"""The only way into directories that a container can write: no link is followed, nothing blocks, reads are bounded.

A container may leave a link, a FIFO or a huge file wherever it can write, and may replace anything at any moment. So
every step starts from an open directory, and files are replaced by a rename.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from ..errors import ConfinedError, system_error

PRIVATE = 0o700
_NO_LINK = os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | os.O_CLOEXEC
_MAKE_ATTEMPTS = 8


class Location(NamedTuple):
    """The directory ``base/parts...``: ``base`` is trusted, and none of ``parts`` may be a link."""

    base: Path
    parts: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return self.base.joinpath(*self.parts)

    @property
    def parent(self) -> Location:
        """The location of the directory that holds this one, which may be a file as well."""
        return Location(self.base, self.parts[:-1])

    @property
    def name(self) -> str:
        return self.parts[-1]

    def at(self, *names: str) -> Location:
        """Return the location ``names...`` below this one."""
        return Location(self.base, (*self.parts, *names))

    def open(self) -> Directory:
        """Open the directory. Raises OSError if it is missing, and for a link or anything else among ``parts``."""
        directory = Directory(os.open(self.base, _DIRECTORY), str(self.base))
        if not self.parts:
            return directory
        with directory:
            return directory.child(*self.parts)

    @contextlib.contextmanager
    def open_if_exists(self) -> Iterator[Directory | None]:
        """Open the directory for the block; yield None if it is missing.

        Raises ConfinedError for a link or a file in its place, and for what the system refuses.
        """
        try:
            directory = self.open()
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            if self.path.is_symlink():
                raise link_error(self.path) from None
            raise system_error("use", self.path, error) from None
        with directory:
            yield directory

    def read(self, name: str, limit: int = 16 << 20) -> bytes | None:
        """Return what ``Directory.read`` does for a file in it; None also if the directory cannot be opened."""
        with contextlib.suppress(OSError), self.open() as directory:
            return directory.read(name, limit)
        return None

    def make(self, mode: int = PRIVATE) -> Directory:
        """Open the directory after making what is missing of it, with ``mode``; ``base`` with its parents as well.

        Raises ConfinedError for a link or a file in the way, and for what the system refuses.
        """
        try:
            self.base.mkdir(mode=mode, parents=True, exist_ok=True)
            directory = Location(self.base).open()
        except OSError as error:
            raise system_error("use", self.base, error) from None
        for name in self.parts:
            with directory:
                try:
                    inner = directory.make(name, mode)
                except OSError as error:
                    path = directory.path / name
                    raise link_error(path) if directory.is_link(name) else system_error("use", path, error) from None
            directory = inner
        return directory

    def refuse_links(self) -> None:
        """Raise ConfinedError if the directory or anything directly in it is a link; it may be missing."""
        with self.open_if_exists() as directory:
            if directory is not None:
                for name in filter(directory.is_link, directory.names()):
                    raise link_error(self.path / name)


class Directory:
    """An open directory, which a container may write at any moment. Opened by a Location or another Directory.

    A ``name`` is one entry of the directory, never a path. Links are not followed: an entry that is one is refused,
    or acted on itself. Methods raise OSError where nothing else is said.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        """Return the file descriptor, for what cannot be a method. It stays this object's own."""
        return self._fd

    @property
    def path(self) -> Path:
        """Where the directory was when it was opened, for messages."""
        return Path(self._path)

    # Directories in it

    def child(self, name: str, *names: str) -> Directory:
        """Open the directory ``name/names...``. Raises OSError also for a link among them."""
        path = f"{self._path}/{name}"
        fd = os.open(name, _DIRECTORY | _NO_LINK, dir_fd=self._fd)
        for inner in names:
            try:
                below = os.open(inner, _DIRECTORY | _NO_LINK, dir_fd=fd)
            finally:
                os.close(fd)
            fd, path = below, f"{path}/{inner}"
        return Directory(fd, path)

    @contextlib.contextmanager
    def child_or_none(self, name: str, *names: str) -> Iterator[Directory | None]:
        """Open the directory ``name/names...`` for the block; yield None if it cannot be opened, or is a link."""
        try:
            directory = self.child(name, *names)
        except OSError:
            yield None
            return
        with directory:
            yield directory

    def make(self, name: str, mode: int = PRIVATE) -> Directory:
        """Open the directory ``name`` after making it with ``mode`` if it is missing."""
        for _ in range(_MAKE_ATTEMPTS):
            with contextlib.suppress(FileExistsError):
                self.mkdir(name, mode)
            with contextlib.suppress(FileNotFoundError):  # someone has removed it again
                return self.child(name)
        raise OSError(errno.EAGAIN, "it is removed again and again")

    def mkdir(self, name: str, mode: int = PRIVATE) -> None:
        os.mkdir(name, mode, dir_fd=self._fd)

    def rmdir(self, name: str) -> None:
        os.rmdir(name, dir_fd=self._fd)

    # What there is

    def names(self) -> list[str]:
        return os.listdir(self._fd)

    def entries(self) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """Return the entries, as ``os.scandir`` does; they are good until the directory is closed."""
        return os.scandir(self._fd)

    def stat(self, name: str = ".") -> os.stat_result:
        """Return the status of an entry, or of the directory itself."""
        return os.fstat(self._fd) if name == "." else os.stat(name, dir_fd=self._fd, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        """Return whether there is anything of that name, including a link to nowhere."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def is_file(self, name: str) -> bool:
        """Return whether ``name`` is a regular file; False where that cannot be found out."""
        return stat.S_ISREG(self._mode(name))

    def is_directory(self, name: str) -> bool:
        """Return whether ``name`` is a directory; False where that cannot be found out."""
        return stat.S_ISDIR(self._mode(name))

    def is_link(self, name: str) -> bool:
        """Return whether ``name`` is a symbolic link; False where that cannot be found out."""
        return stat.S_ISLNK(self._mode(name))

    def _mode(self, name: str) -> int:
        try:
            return self.stat(name).st_mode
        except OSError:
            return 0

    def readlink(self, name: str) -> str:
        return os.readlink(name, dir_fd=self._fd)

    def replace_link(self, name: str, target: bytes) -> None:
        """Put a link to ``target`` in the place of ``name``, which may be missing."""
        with contextlib.suppress(FileNotFoundError):
            self.unlink(name)
        os.symlink(target, name, dir_fd=self._fd)

    # Files

    def read(self, name: str, limit: int = 16 << 20) -> bytes | None:
        """Return the content of a regular file of at most ``limit`` bytes; None for anything else."""
        try:
            return _content(_open_file(name, _NO_LINK, self._fd), limit)
        except OSError:
            return None

    def head(self, name: str, limit: int) -> Iterator[bytes]:
        """Yield the lines at the start of a regular file, at most ``limit`` bytes; none for anything else."""
        try:
            fd = _open_file(name, _NO_LINK, self._fd)
        except OSError:
            return
        with open(fd, "rb") as file:
            while limit > 0 and (line := file.readline(limit)):
                limit -= len(line)
                yield line

    def write(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Replace ``name`` by a file with ``content``, completely or not at all. A link is replaced as well."""
        temporary = f".{name}.{os.urandom(6).hex()}"
        fd = os.open(temporary, _NEW_FILE, mode, dir_fd=self._fd)
        try:
            with open(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(fd, mode)
                os.fsync(fd)
            self.rename(temporary, name)
        except BaseException:
            with contextlib.suppress(OSError):
                self.unlink(temporary)
            raise

    def overwrite(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Write ``content`` into the file ``name``, which keeps its inode; ``write`` it if that is no regular file."""
        try:
            fd = _open_file(name, os.O_WRONLY | _NO_LINK, self._fd)
        except OSError:
            self.write(name, content, mode)
            return
        with open(fd, "wb") as file:
            file.truncate()
            file.write(content)

    def open_binary(self, name: str) -> BinaryIO:
        """Open a regular file for reading at any position. Raises OSError for anything else."""
        return open(_open_file(name, _NO_LINK, self._fd), "rb")

    def create(self, name: str, mode: int = 0o600) -> IO[str]:
        """Open a new file for text, written line by line. Raises FileExistsError if there is anything of that name."""
        fd = os.open(name, _NEW_FILE, mode, dir_fd=self._fd)
        return open(fd, "w", encoding="utf-8", errors="replace", buffering=1)

    def change_mode(self, name: str, *, on: int = 0, off: int = 0) -> None:
        """Set some bits of the mode of the file ``name``, and clear others."""
        fd = _open_file(name, _NO_LINK, self._fd)
        try:
            os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) & ~off | on)
        finally:
            os.close(fd)

    def touch(self, name: str) -> None:
        """Set the times of ``name`` to now."""
        os.utime(name, dir_fd=self._fd, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self._fd)

    def rename(self, name: str, new: str, into: Directory | None = None) -> None:
        """Rename ``name`` to ``new``, in another directory of the same file system if one is given."""
        os.rename(name, new, src_dir_fd=self._fd, dst_dir_fd=(into or self)._fd)


def read_config(path: Path, limit: int = 1 << 20) -> str | None:
    """Return the text of a file that a person wrote; None if there is none. Links are followed.

    Raises ConfinedError if it cannot be read or is no file of a sensible size: it may be where a session can write,
    and a FIFO must not block the next start.
    """
    try:
        content = _content(_open_file(path, 0), limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise system_error("read", path, error) from None
    if content is None:
        raise ConfinedError(f"Cannot read {path}: it is larger than {limit} bytes.", "Remove it.")
    try:
        return content.decode("utf-8-sig")  # some editors put a mark at the begin
    except UnicodeDecodeError:
        raise ConfinedError(f"Cannot read {path}: it is not UTF-8 text.", "Save it as UTF-8, or remove it.") from None


def _open_file(name: str | Path, flags: int, directory: int | None = None) -> int:
    """Open a regular file. Raises OSError for anything else, without waiting for it."""
    fd = os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is not a regular file")


def _content(fd: int, limit: int) -> bytes | None:
    """Return the content of an open file of at most ``limit`` bytes, None if there is more; close it."""
    try:
        content = bytearray()
        while len(content) <= limit and (chunk := os.read(fd, 1 << 20)):
            content += chunk
    finally:
        os.close(fd)
    return None if len(content) > limit else bytes(content)


def link_error(path: Path) -> ConfinedError:
    """Return the error for a link in a place where none may be."""
    return ConfinedError(
        f"{path} is a link, which could lead anywhere on your machine.",
        "Look at where it leads, remove it, and start again.",
    )
