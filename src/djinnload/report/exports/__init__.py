"""A results directory in the formats of others: ``--export``."""
