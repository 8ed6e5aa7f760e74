"""Latents and CLIP tokens of shards, computed once."""
