"""Shards in the official MegActor layout made into ours."""
