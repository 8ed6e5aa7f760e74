"""Training and evaluation of the MegActor model."""
