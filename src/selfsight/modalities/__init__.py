"""Modalities: what is learned from; `base` says what one is, `table` names them."""
