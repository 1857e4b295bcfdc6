"""Whether what a run was tested on had a part in its training: found from its files, before a table is given."""
