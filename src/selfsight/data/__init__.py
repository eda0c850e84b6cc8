"""Data: turns files into batches; one folder for each modality, and what they share."""
