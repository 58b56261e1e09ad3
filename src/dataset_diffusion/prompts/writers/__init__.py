"""Who writes captions where there are none."""
