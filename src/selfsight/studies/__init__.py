"""Studies: whole experiments that end in a table, a picture and an answer in words."""
