"""Servers as the run sees them: opened, called, closed."""
