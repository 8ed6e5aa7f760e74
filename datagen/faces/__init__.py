"""Landmarks of the one face of a clip: one backend a file."""
