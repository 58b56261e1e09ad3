"""One HTML page about a run, and the pictures and charts on it. Loads no model."""
