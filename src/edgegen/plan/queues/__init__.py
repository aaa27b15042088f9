"""Planning for machines with queues: all waiting tasks at once, within milliseconds, with a lower bound (numba)."""
