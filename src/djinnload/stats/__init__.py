"""Samples → turns, values and intervals; pure."""
