"""The method section of a report, in words, from the settings that runs have recorded."""
