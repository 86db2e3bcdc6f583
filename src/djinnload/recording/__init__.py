"""Rows → files, crash-safe, off the loop."""
