"""What a session may reach on the network: planned by mode, and the sidecars that control two of the modes."""
