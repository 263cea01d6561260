"""The text side of style: words, captions, and what is known of pieces."""
