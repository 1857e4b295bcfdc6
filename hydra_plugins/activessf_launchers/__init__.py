"""Hydra finds launchers here: each is a thin class on `activessf.launching`."""
