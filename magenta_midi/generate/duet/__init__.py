"""Generation for two players: append, sample, roll back, re-base."""
