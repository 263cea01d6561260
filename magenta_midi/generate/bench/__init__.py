"""Speed of generation, against what the hardware gives."""
