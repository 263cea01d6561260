"""Work beside the players, in children of lower priority."""
