"""The command line of all scripts: how it may be spelled, how jobs and scripts end, what a mistake looks like."""
