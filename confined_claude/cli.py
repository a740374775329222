"""The ``confined-claude`` command: the same tasks, with no code and no config of the project."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import NoReturn

# Nothing of this package is imported up here: a Ctrl-C before main() decides about it prints a traceback.


def _call() -> int:
    """Call what the command line stands for, and return its exit code."""
    from . import command_line

    typed = sys.argv[1:]
    words = sys.argv[1:] = command_line.rewrite(typed)
    command_line.refuse_misplaced(typed, words)
    parsed = command_line.parse(words)
    if parsed is None:
        from . import program  # imports Invoke

        return program.run()
    from . import signals
    from .errors import ConfinedError, explain_os_error
    from .host import Host

    signals.raise_at_ctrl_c()  # from here on there is something to clean up

    command, flags = parsed
    try:
        return command.body(Host.current(), **flags) or 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfinedError(*explain_os_error(error).splitlines()) from None


def run() -> int:
    """Run the command line in ``sys.argv``, print what went wrong, and return the exit code."""
    from .console import wrapped
    from .errors import INTERRUPTED, READER_GONE, USAGE, ConfinedError

    try:
        if "PYTHONPATH" in os.environ and not sys.flags.ignore_environment:
            from .project import refuse_python_path

            refuse_python_path(os.environ)
        code = _call()
        if not code:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except ConfinedError as error:
        print(wrapped(f"confined-claude: {error}", sys.stderr), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return READER_GONE
    except OSError as error:
        print(f"confined-claude: {error.strerror or error}.\nLook where its output goes.", file=sys.stderr)
        return USAGE
    return code


def main() -> NoReturn:
    """Run the command with this process's arguments, and exit with its code."""
    # Collecting garbage while importing, and taking modules apart at the end, costs more
    # than a tenth of a start; a process this short needs neither.
    gc.disable()
    # A KeyboardInterrupt raised while modules are imported may be lost; nothing is there yet to clean up.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .console import open_streams

    open_streams()
    code = run()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
