"""Claude Code with full freedom in a container, kept away from the rest of your machine."""

__version__ = "0.2.0"
