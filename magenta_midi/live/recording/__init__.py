"""Sessions on disk, and their replay on a virtual clock."""
