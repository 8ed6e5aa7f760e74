"""Shots of a video: one detector a file."""
