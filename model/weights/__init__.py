"""Moved to datagen.weights; the command goes on working under its old name."""
