"""All checks, one after the other: one that fails, or hangs, has a result of its own, and the others still run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ... import __version__, project
from ...engine import command, containers
from ...errors import ConfinedError, EngineError
from ...host import Host
from ...image.inventory import Inventory
from ...image.recipe import image_chain
from ...project import Project
from ...settings import Settings
from ...settings.files import ProjectFiles
from ...state import profiles
from ...state.current import current_project
from .. import accounts
from ..config import resolve_here
from . import engines, machine, records
from .engines import Answers
from .results import PROBLEM, Report, Result, ok, problem, run_check, warning

# Longer than the checks wait themselves: for two answers of the engine, and 30 s for a scan of the project.
_ENGINE_SECONDS = 50
_SCAN_SECONDS = 40
_NO_FILES = ProjectFiles(Path())


def examine(host: Host) -> Report:
    """Return the results of all checks, for a session in the current directory."""
    return _Examination(host).run()


class _Examination:
    def __init__(self, host: Host) -> None:
        self._host = host
        self._report: list[tuple[str, Result]] = [("tool", ok(f"confined-claude {__version__}"))]
        self._here: Project | None = None
        self._answers: Answers | None = None

    def run(self) -> Report:
        host = self._host
        of_project = run_check(self._find_project)
        here = self._here
        settings, files = self._settings()

        has_docker = self._check("docker", machine.docker_command, host)
        if self._check("context", engines.context, host) and has_docker:
            self._check("engine", self._ask_engine, seconds=_ENGINE_SECONDS)
        if (answers := self._answers) is not None:
            self._check("mode", engines.mode, answers)
            self._check("runtimes", engines.runtimes, answers, settings)
            self._check("versions", engines.versions, answers)
            self._check("system calls", engines.system_calls, answers)
            self._check("limits", engines.kernel, answers, settings)
            self._check("users", engines.users, answers, host, here)
            if (root := engines.root_directory(answers)) is not None:
                self._check("space for engine", machine.space, root, machine.IMAGE_BYTES, False)
            self._check("image", self._image, settings, files.dockerfile)
            self._check("sessions", records.sessions, host)
        self._check("space for data", machine.space, host.data)
        if self._check("space for state", machine.space, host.state, machine.STATE_BYTES) and answers is not None:
            self._check("files", engines.files, answers, host, here, seconds=_ENGINE_SECONDS)
        if here is not None:
            self._check("space for project", machine.space, here.root)
        self._check("sign-in", self._sign_in, settings)
        self._check("your config", records.user_config, host)
        self._check("variables", records.variables, host.environ)
        self._report += [("project", result) for result in of_project]
        if here is not None:
            self._check("project config", records.project_config, here, host)
        self._check("records", records.every_record, host, here)
        self._check("review", records.review, host, here, seconds=_SCAN_SECONDS)
        self._check("PATH", machine.own_commands, host)
        self._check("PATH", machine.left_out_of_path)
        self._check("git", machine.git_command, host)
        return self._report

    def _check(
        self, name: str, check: Callable[..., Result | Iterable[Result]], *arguments: Any, seconds: float = 10
    ) -> bool:
        """Add the results of a check to the report; return whether none is a problem."""
        found = run_check(check, *arguments, seconds=seconds)
        self._report += [(name, result) for result in found]
        return all(result.status != PROBLEM for result in found)

    def _find_project(self) -> Result:
        """Find the current project. A directory that is not meant for one is only a warning."""
        try:
            self._here = current_project(self._host)
        except ConfinedError as error:
            is_elsewhere = False
            with contextlib.suppress(FileNotFoundError):  # the current directory is gone
                is_elsewhere = bool(project.refusal(Path.cwd().resolve(), self._host))
            return (warning if is_elsewhere else problem)(error.message, error.hint)
        return ok(str(self._here.root))

    def _settings(self) -> tuple[Settings, ProjectFiles]:
        """Return the settings in force and the project's files, as far as they are valid."""
        try:
            settings = resolve_here(self._host)[0].settings
            return settings, _NO_FILES if self._here is None else ProjectFiles.read(self._here.scaffold)
        except Exception:  # another check reports it
            return Settings(), _NO_FILES

    def _ask_engine(self) -> Result:
        self._answers = engines.ask()
        command.words(podman=containers.is_podman(self._answers.version))
        return engines.engine(self._answers)

    def _sign_in(self, settings: Settings) -> Result:
        found = accounts.in_force(self._host, self._here, settings)
        written = (self._here.root,) if self._here else ()
        result = machine.sign_in(found.config, found.host, written, is_lent=found.is_lent)
        if found.profile.name == profiles.DEFAULT:
            return result
        return result._replace(what=f"profile {found.profile.name}: {result.what}")

    def _image(self, settings: Settings, dockerfile: str) -> Result:
        from ...engine.images import Images

        chain = image_chain(settings, self._host.environ, dockerfile)
        engine = Images()
        found = engine.image(chain.name)
        if found is not None:
            with contextlib.suppress(EngineError):  # on a full disk, say
                version = Inventory(engine, self._host).claude_version(found.id, record=False)
                found = found._replace(claude_version=version)
        return machine.its_image(found, chain, time.time())
