"""Debian packages during a session: the helper that stays root for `sudo apt-get`, and what may be asked of it."""
