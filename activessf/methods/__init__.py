"""Stage 3: the self-supervised methods, one a file."""
