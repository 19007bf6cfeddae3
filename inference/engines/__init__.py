"""What runs the encoder: PyTorch, or an artefact that `standpoint export` wrote beside the weights."""
