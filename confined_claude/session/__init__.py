"""A session: its launch, the process that supervises it, and how others list, join and end it."""
