"""Codecs: sound to a few whole numbers a second, and back."""
