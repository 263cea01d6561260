"""Commands that read and write Magenta RealTime's checkpoints."""
