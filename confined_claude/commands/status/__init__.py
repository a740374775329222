"""``status``: what runs, what it uses, and how to remove it."""
