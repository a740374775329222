"""All checks, one after the other. One that fails, or hangs, is a line of its own; the others are done all the same."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from ... import __version__, project
from ...errors import ConfinedError, EngineError
from ...guard.guard import Ground
from ...host import Host
from ...image.inventory import Inventory
from ...image.recipe import image_chain
from ...project import Project
from ...session import mounts
from ...settings import Settings
from ...settings.files import ProjectFiles
from ...workspace import current_project
from ..config import resolve_here
from . import engines, machine
from . import records as kept
from .engines import Answers
from .lines import OK, PROBLEM, WARNING, Line, checked, exit_code

_SHARED_CONFIG = ("shared", "claude-config")
# Longer than what they wait for themselves: two answers of the engine, and a look through the project of 30 s.
_ENGINE_SECONDS = 50
_LOOK_SECONDS = 40


def examine(host: Host) -> list[Line]:
    """Everything that a session in the current folder needs, line by line."""
    places: list[Project] = []
    place = checked("project", partial(_project, host, places))
    here = places[0] if places else None
    chosen, dockerfile = _settings(host, here)

    lines = [Line("tool", OK, f"confined-claude {__version__}")]
    lines += (command := checked("docker", partial(machine.docker_command, host)))
    lines += (where := checked("context", partial(engines.context, host)))
    answers: list[Answers] = []
    if exit_code([*command, *where]) == 0:
        lines += checked("engine", partial(_engine, answers), _ENGINE_SECONDS)
    for answer in answers:
        lines += _of_engine(answer, host, here, chosen, dockerfile)
    lines += checked("space for data", partial(machine.space, "data", host.data))
    lines += checked("space for state", partial(machine.space, "state", host.state, machine.STATE_BYTES))
    if here is not None:
        lines += checked("space for project", partial(machine.space, "project", here.root))
    folder = (
        mounts.claude_config(here, host, chosen).source if here is not None else host.data.joinpath(*_SHARED_CONFIG)
    )
    lines += checked("sign-in", partial(machine.sign_in, folder, host))
    lines += checked("your config", partial(kept.user_config, host))
    lines += checked("variables", partial(kept.variables, host.environ))
    lines += place
    if here is not None:
        lines += checked("project config", partial(kept.project_config, here, host))
    lines += checked("records", partial(kept.every_record, host, here))
    lines += checked("review", partial(kept.review, host, here, partial(_ground, host, chosen)), _LOOK_SECONDS)
    lines += checked("PATH", partial(machine.own_commands, host))
    lines += checked("git", partial(machine.git_command, host))
    return lines


def _project(host: Host, places: list[Project]) -> Line:
    """The current project, put into ``places``; a warning in a folder that is not for one."""
    try:
        places.append(current_project(host))
    except ConfinedError as error:
        is_elsewhere = False
        with contextlib.suppress(FileNotFoundError):  # the current folder is gone
            is_elsewhere = bool(project.refusal(Path.cwd().resolve(), host))
        return Line("project", WARNING if is_elsewhere else PROBLEM, error.message, error.hint)
    return Line("project", OK, str(places[0].root))


def _ground(host: Host, chosen: Settings, here: Project) -> Ground:
    return Ground(here, chosen, host.git_config, forgiving=True)


def _settings(host: Host, here: Project | None) -> tuple[Settings, str]:
    """The settings in force and the project's Dockerfile, as far as they are right; other checks tell the rest."""
    try:
        chosen = resolve_here(host)[0].settings
        return chosen, "" if here is None else ProjectFiles.read(here.scaffold).dockerfile
    except Exception:  # whatever it is, a check of its own meets it as well
        return Settings(), ""


def _engine(answers: list[Answers]) -> Line:
    answer = engines.ask()
    answers.append(answer)
    return engines.engine(answer)


def _of_engine(answer: Answers, host: Host, here: Project | None, chosen: Settings, dockerfile: str) -> list[Line]:
    """The lines that need an engine."""
    from ...engine.sdk import Engine

    def its_image() -> Line:
        wanted = image_chain(chosen, host.environ, dockerfile)
        engine = Engine.connect(host.environ)
        known = engine.image(wanted.name)
        if known is not None:
            with contextlib.suppress(EngineError):  # on a full disk, say
                known = replace(known, claude_version=Inventory(engine, host).claude_version(known.id, record=False))
        return machine.its_image(known, wanted, time.time())

    lines = checked("mode", partial(engines.mode, answer.version, answer.info))
    lines += checked("versions", partial(engines.versions, answer.version, answer.info))
    lines += checked("limits", partial(engines.kernel, answer.info, chosen))
    lines += checked("users", partial(engines.users, answer.info, host, here))
    if (folder := engines.root_folder(answer)) is not None:
        lines += checked(
            "space for engine", partial(machine.space, "engine", folder, machine.IMAGE_BYTES, is_ours=False)
        )
    lines += checked("image", its_image)
    return [*lines, *checked("sessions", partial(kept.sessions, host))]
