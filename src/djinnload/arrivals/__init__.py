"""Arrival processes beyond those of `djinnload.pacing`; pure, but a trace is read."""
