"""What is in the shards, what was lost and why, whether the twins are any good."""
