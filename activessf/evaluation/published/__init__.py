"""The numbers that the paper prints, of its private clinical data, and which run each of them stands beside."""
