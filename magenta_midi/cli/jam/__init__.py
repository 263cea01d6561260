"""The live session in the terminal."""
