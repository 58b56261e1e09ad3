"""Which samples of a dataset are worth keeping."""
