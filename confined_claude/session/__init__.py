"""A session: its launch, the process that supervises it, and how others list, join and end it."""

# What a session runs if it is not given a command.
SHELL = ("bash",)
CLAUDE = "claude"
YOLO = "--dangerously-skip-permissions"  # Claude Code's own word for it
