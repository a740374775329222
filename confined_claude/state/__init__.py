"""The host-only records in ``<state>``: projects, trust, locks, and facts about the engine."""
