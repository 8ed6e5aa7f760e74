"""Samples of training: found in shards, drawn in order, decoded, changed, batched."""
