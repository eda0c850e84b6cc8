"""Data: what people have becomes batches; a folder a modality, and what they share."""
