"""The architectures again, in PyTorch, written from the papers: the other side of every agreement test."""
