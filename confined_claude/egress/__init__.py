"""What a session may reach on the network: the modes, and the sidecars that keep two of them."""
