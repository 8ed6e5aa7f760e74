"""Converts shards in the official MegActor layout."""
