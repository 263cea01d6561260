"""Low-rank adapters: weights, files, the library of installed ones."""
