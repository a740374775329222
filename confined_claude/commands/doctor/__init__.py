"""``doctor``: everything that a session needs, looked at without changing any of it.

A problem is what keeps sessions from starting; a warning is what makes them less safe, or not work to the end.
"""
