"""The tables of a report, each as numbers and as people read it."""
