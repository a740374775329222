"""Claude Code with full freedom inside a container, and no risk to the machine it runs on."""

__version__ = "0.2.0"
