"""Tests that need no engine; one that reaches for an engine fails."""
