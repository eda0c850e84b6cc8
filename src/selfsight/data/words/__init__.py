"""Words: text in files, numbered by a vocabulary, in passages that a task learns from."""
