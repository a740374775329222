"""The images of sessions: what goes into them, how they are built, and which of them are still needed."""
