"""More than one process: shards of one schedule, driven and merged."""
