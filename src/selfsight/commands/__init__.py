"""Commands: a verb a file; what each takes stands in `settings`."""
