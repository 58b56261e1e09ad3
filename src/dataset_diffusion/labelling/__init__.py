"""From attention to label maps. Reads no model and no file."""
