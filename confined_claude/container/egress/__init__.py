"""The network of a session: its rules or its proxy in the sidecar, and how the session's container is tied to it."""
