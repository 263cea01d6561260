"""Transkun in JAX: piano sound to notes, velocities and pedal.

A transformer over time and keys scores every interval of every key; the best
set of intervals that do not overlap is found exactly, as in a semi-Markov
conditional random field.

Source: Yan and Duan 2024, "Scoring Time Intervals Using Non-Hierarchical
Transformer for Automatic Piano Transcription", https://arxiv.org/abs/2404.09466
"""
