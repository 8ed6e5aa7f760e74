"""Faces in pictures: landmarks, geometry, crops, identity and gaze signals."""
