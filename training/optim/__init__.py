"""Optimizers, their schedules, and the mean of the weights."""
