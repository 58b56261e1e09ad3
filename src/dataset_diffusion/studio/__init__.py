"""A page on which a person looks through a dataset, decides and corrects: served on this machine, to this machine."""
