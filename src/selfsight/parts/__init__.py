"""Parts: what several tasks share."""
