"""The ``confined-claude`` command: the same tasks, with no code and no config of the project.

Invoke's own loader is never used, so nothing in the current directory is imported.
"""

from __future__ import annotations

import sys
from typing import Any

from invoke import Collection, Config, Program

from . import __version__, tasks

# The flags of the shell script this command took over from.
_OLD_FLAGS = {"--yolo": ["run", "--yolo"], "--shell": ["shell"], "--rebuild": ["rebuild"]}


class _Config(Config):
    """Invoke's own settings under a name of our own, so that ``inv``'s config files do not apply."""

    prefix = "confined-claude-invoke"
    env_prefix = "CONFINED_CLAUDE_INVOKE"  # type: ignore[assignment]  # None in Invoke: as the prefix


def _namespace() -> Collection:
    """The tasks with ``run`` as the default."""
    namespace = Collection()
    for name, item in tasks.ns.tasks.items():
        namespace.add_task(item, name=name, default=name == "run")
    return namespace


def main() -> Any:
    """Run the command with this process's arguments, and exit with its code."""
    words = sys.argv[1:]
    if words and words[0] in _OLD_FLAGS:
        words = [*_OLD_FLAGS[words[0]], *words[1:]]
    elif not words or words[0] == "--":
        words = ["run", *words]
    sys.argv[1:] = words
    program = Program(
        name="confined-claude",
        binary="confined-claude",
        version=__version__,
        namespace=_namespace(),
        config_class=_Config,
    )
    return program.run()


if __name__ == "__main__":
    main()
