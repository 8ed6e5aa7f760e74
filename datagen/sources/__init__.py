"""Where clips come from: each source plans clips, and its stage leaves one video for each."""
