"""A status for programs: JSON as in docs/status.schema.json."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from ...engine.image import Image
from ...fs.usage import Size
from ...image.inventory import ImageInventory
from .model import CLEAN_GLOBAL, Data, KnownProject, SessionUsage, Status

VERSION = 1


def document(found: Status) -> dict[str, Any]:
    """Return a status as a value for JSON."""
    project = found.project
    own = None if project is None else {"id": project.id, "path": str(project.root), "data": _data(found.data)}
    return {
        "version": VERSION,
        "time": _moment(found.time),
        "problems": [problem._asdict() for problem in found.problems],
        "sessions": None if found.sessions is None else [_session(each) for each in found.sessions],
        "project": own,
        "shared": _data(found.shared),
        "images": None if found.images is None else _images(found.images),
        "projects": [_project(each) for each in found.projects],
        "profiles": [each.document() for each in found.accounts],
    }


def _session(found: SessionUsage) -> dict[str, Any]:
    session, usage = found.session, found.usage
    return {
        "name": session.name,
        "id": session.id,
        "state": found.state,
        "project": session.project_id,
        "path": str(session.path),
        "since": _moment(session.since),
        "network": session.network or None,
        "profile": session.profile or None,
        "ports": [int(port) for port in session.ports if port.isdecimal()],
        "image": session.image,
        "claude_version": found.claude_version or None,
        "memory_bytes": None if usage is None else usage.memory,
        "cpu_seconds": None if usage is None else round(usage.cpu_seconds, 3),
    }


def _data(found: tuple[Data, ...]) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "path": str(each.location.path), **_size(each.size), "removed_by": each.removed_by}
        for each in found
    ]


def _images(found: ImageInventory) -> dict[str, Any]:
    def listed(images: tuple[Image, ...]) -> list[dict[str, Any]]:
        return [
            {
                "id": image.id,
                "names": list(image.names),
                "claude_version": image.claude_version or None,
                "bytes": image.size,
                "is_used": found.is_needed(image),
            }
            for image in images
        ]

    return {
        "images": listed(found.images),
        "bytes": found.bytes,
        "free_bytes": found.freed_bytes,
        "removed_by": CLEAN_GLOBAL,
        "others": listed(found.others),
    }


def _project(found: KnownProject) -> dict[str, Any]:
    known, counts = found.known, found.open
    return {
        "id": known.id,
        "path": None if known.root is None else str(known.root),
        "exists": found.exists,
        "last_used": _moment(known.last_used),
        **_size(found.size),
        "findings": {
            "red": counts.red,
            "yellow": counts.yellow,
            "older": counts.older,
            "sessions_to_look_through": counts.unscanned,
        },
        "forgotten_by": found.forgotten_by,
    }


def _size(size: Size) -> dict[str, Any]:
    return {"bytes": size.bytes, "is_whole": size.is_whole}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
