"""Runs one of the programs of a container, by the name of its module.

    python3 -I /opt/confined-claude egress.join ...

Given a directory, Python looks there first for what is imported, even if it is isolated (-I) and without the packages
of the system (-S). So the programs import from each other here as they do in the library.
"""

import sys
from importlib import import_module

sys.exit(import_module(sys.argv[1]).main(sys.argv[2:]))
