"""Saving and loading models and weights in Keras' file formats."""
