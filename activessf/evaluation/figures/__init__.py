"""Figures of a report, one a module; each is written as PNG and as PDF."""
