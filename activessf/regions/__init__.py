"""Stage 1: cell regions found in slides (paper II.B)."""
