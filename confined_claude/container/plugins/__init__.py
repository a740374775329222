"""What Claude Code's plugins need before Claude Code starts."""
