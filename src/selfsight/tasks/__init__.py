"""Tasks: one pretext method a file; `table` names them, `base` says what each of them is."""
