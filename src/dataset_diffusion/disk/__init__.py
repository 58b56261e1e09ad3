"""What is kept on disk, and whose it is."""
