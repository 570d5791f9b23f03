"""Generative Bone Lesions Synthesis for Data Augmentation in X-ray (Gupta, Chopra, Ledig)."""
