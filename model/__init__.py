"""The MegActor model."""
