"""Learners: whole training loops in JAX, one file per algorithm. What they train is a policy like any other."""
