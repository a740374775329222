"""The old names of ``usage``, until its callers use the new ones."""

from .usage import Size, in_words
from .usage import measure as measured

__all__ = ["Size", "in_words", "measured"]
