"""What a session says, one readable file each."""
