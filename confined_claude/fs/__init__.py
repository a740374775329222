"""Directories that a container can write: reading, writing, deleting and measuring them without following links."""
