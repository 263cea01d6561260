"""Magenta RealTime's own model: weights, checkpoints, decoding, seqio."""
