"""A results directory as one file that says what it holds, and that run once more."""
