"""Files for a container as a tar archive; imported only where there are any."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

from .mount import FileInside


def archive(files: Iterable[FileInside]) -> bytes:
    """Return a tar archive of ``files``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode, entry.uid, entry.gid = len(file.content), file.mode, file.uid, file.gid
            if file.path.endswith("/"):
                entry.type = tarfile.DIRTYPE
            tar.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()
