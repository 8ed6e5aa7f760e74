"""The swapped twin: a clip and a donor -> the same motion with another face."""
