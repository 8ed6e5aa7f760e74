"""From a raw video to clips of one face: one backend a file."""
