"""Confined Claude: `inv --list` shows the tasks. Written by copier; `copier update` brings it up to date."""

import os
import sys
from pathlib import Path
# Invoke puts this directory on sys.path, and a session can write here: nothing beside this file is imported or obeyed.
_here = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _here]
if _planted := [path.name for path in sorted(_here.glob("invoke.*")) if path.suffix in (".py", ".yaml", ".yml", ".json")]:
    print(f"confined-claude: {_planted[0]} is beside tasks.py, and Invoke would obey it.\n"
          "Look at it, and remove it; or use the confined-claude command, which does not read it.", file=sys.stderr)
    sys.exit(4)
if (_path := os.environ.get("PYTHONPATH")) and any(Path(e).resolve().is_relative_to(_here) for e in _path.split(os.pathsep)):
    print("confined-claude: PYTHONPATH leads Python into this project, where a session can put modules.\n"
          "Look for them, and start `env -u PYTHONPATH inv`; or use the confined-claude command.", file=sys.stderr)
    sys.exit(4)
try:
    from confined_claude.tasks import ns  # noqa: E402, F401
except ModuleNotFoundError as error:
    sys.exit(f"confined-claude: {error} for {sys.executable}.\nRun the tool's install.sh, and use ~/.local/bin/inv.")
