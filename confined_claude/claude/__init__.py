"""The user's Claude: the sign-in, the settings and the history of the host's client and of the container's."""
