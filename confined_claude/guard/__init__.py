"""The guard: what a session leaves in the project does not run on the host unnoticed."""
