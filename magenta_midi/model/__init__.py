"""The Depthformer in Flax NNX, and its checkpoints."""
