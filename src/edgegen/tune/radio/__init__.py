"""What federated rounds cost over radio, and who should take part with what."""
