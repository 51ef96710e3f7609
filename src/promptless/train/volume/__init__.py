"""Training of models on volumes."""
