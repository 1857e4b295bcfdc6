"""Jobs of a sweep: what each is doing, how it ended, and what is said of all at the end."""
