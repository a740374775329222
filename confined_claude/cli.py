"""The ``confined-claude`` command: the same tasks, with no code and no config of the project."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import NoReturn

from .console import open_streams
from .errors import INTERRUPTED, READER_GONE, USAGE, ConfinedError


def main() -> NoReturn:
    """Run the command with this process's arguments, and exit with its code."""
    open_streams()
    # Collecting garbage while importing, and taking modules apart at the end, costs more
    # than a tenth of a start; a process this short needs neither.
    gc.disable()
    # A KeyboardInterrupt raised while modules are imported may be lost; nothing is there yet to clean up.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        if "PYTHONPATH" in os.environ and not sys.flags.ignore_environment:
            from .project import refuse_python_path

            refuse_python_path(os.environ)
        from . import program

        code = program.run()
        if not code:
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ConfinedError as error:
        print(f"confined-claude: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        code = READER_GONE
    except OSError as error:
        print(f"confined-claude: {error.strerror or error}.\nLook where its output goes.", file=sys.stderr)
        code = USAGE
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
