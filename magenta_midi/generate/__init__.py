"""Chunked generation: state in, (chunk, state) out."""
