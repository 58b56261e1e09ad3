"""How attention is to be read, learned from pictures of which it is known, or taught, where their classes are."""
