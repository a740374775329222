"""Confined Claude: `inv --list` shows the tasks. Written by copier; `copier update` brings it up to date."""

import sys
from pathlib import Path

# Invoke puts this directory on sys.path, and a session can write here: a stray rich.py
# or docker/__init__.py would be imported, and run, on the host.
_here = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _here]

try:
    from confined_claude.tasks import ns  # noqa: E402, F401
except ModuleNotFoundError as error:
    sys.exit(f"confined-claude: {error} for {sys.executable}.\nRun its install.sh, and use the inv it links into ~/.local/bin.")
