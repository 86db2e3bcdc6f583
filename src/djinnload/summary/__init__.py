"""A cell's or a run's samples → its summary."""
