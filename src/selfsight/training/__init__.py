"""Training: from what was asked to a run that is trained, whatever it learns from."""
