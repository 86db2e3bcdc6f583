"""What a run would trip over, looked up before it."""
