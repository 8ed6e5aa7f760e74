"""What a run would train and what it would need."""
