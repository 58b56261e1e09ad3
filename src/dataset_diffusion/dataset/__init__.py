"""The dataset on disk: its columns, the store that writes and reads it, and the view a segmenter trains on."""
