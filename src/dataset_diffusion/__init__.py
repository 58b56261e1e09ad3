"""Type class names, get a semantic-segmentation dataset and a trained segmenter, with no annotation."""

__version__ = "0.1.0"
