"""Stage 2: which candidate regions pretraining sees (paper II.C)."""
