"""Weights that come from elsewhere: which there are, how to get them, whether they are whole."""
