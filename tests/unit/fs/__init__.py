"""Tests of what touches directories that a container can write."""
