"""Bone fractured X-ray data generation based on DCGAN (Bai)."""
