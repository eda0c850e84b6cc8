"""Training: turns settings into a trained run, for any modality."""
