"""Prompts: class sets, captions, class-prompt appending, and where a class's words are among the tokens."""
