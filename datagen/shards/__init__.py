"""From kept clips to WebDataset shards and their index."""
