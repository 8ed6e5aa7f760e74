"""A run: made from its configuration, fitted, validated, written."""
