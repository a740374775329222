"""What each command does: the only code that prints. One module or package for each command."""
