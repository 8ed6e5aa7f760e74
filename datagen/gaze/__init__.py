"""Where the eyes look, relative to the head, and how far they move: a clip and its faces -> the
shard's faces.npz.
"""
