"""Detecting Bone Fractures Utilizing Res-Net Variants (Lisbon)."""
