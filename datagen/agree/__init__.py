"""Does a driving twin still match its target: one backend a file."""
