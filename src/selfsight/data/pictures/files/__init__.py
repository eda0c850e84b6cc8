"""Files: the bytes of one picture become pixels, or a reason why not."""
