"""From attention to label maps (paper sections 3.2 to 3.4). Reads no model and no file."""
