"""Files of a cell → columns, exact and packed."""
