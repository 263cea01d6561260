"""Base training: settings, optimizers, loop."""
