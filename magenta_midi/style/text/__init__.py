"""Text of styles: words, captions, and facts about pieces."""
