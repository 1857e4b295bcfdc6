"""See a pretraining learn: throughput, probes, reconstructions, curves. None of it changes the result."""
