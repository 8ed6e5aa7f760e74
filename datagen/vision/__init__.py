"""What pictures of faces say, whichever stage asks."""
