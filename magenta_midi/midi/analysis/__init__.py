"""What is heard in a score: key, chords, rhythm, texture."""
