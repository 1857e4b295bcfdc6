"""Stages 3 and 4: losses, optimiser groups, schedules, running a Trainer."""
