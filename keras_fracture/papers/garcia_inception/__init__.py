"""Convolutional neural network for fracture detection in x-ray images (García Aguirre)."""
