"""Learners: policies that improve with the reward they get, in JAX; each algorithm is one file."""
