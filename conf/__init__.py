"""Hydra configuration, composed by the commands of datagen, model and training."""
