"""The sample's people and their motion, rendered."""
