"""A session: its launch, the process that supervises it, and how others list, join and end it."""

# What a session runs if it is not given a command.
SHELL = ("bash",)
CLAUDE = "claude"
# With what plugins need, and the user's MCP servers, as the entrypoint runs it; see container/plugins/with-plugins.
WITH_PLUGINS = ("/opt/confined-claude/plugins/with-plugins", "/home/claude/.claude")
YOLO = "--dangerously-skip-permissions"  # Claude Code's own word for it
