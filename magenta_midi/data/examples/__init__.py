"""Training examples: from packed pieces to batches."""
