"""Files: decodes the bytes of one picture, or says why that is not possible."""
