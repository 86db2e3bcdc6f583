"""What the host and the devices did meanwhile."""
