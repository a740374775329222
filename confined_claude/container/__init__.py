"""What goes into the image: scripts and programs that run in containers."""
