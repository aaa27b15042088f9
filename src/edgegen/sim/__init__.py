"""The simulator: worlds that obey policies many times faster than real time, in JAX under `jit`, `vmap` and `scan`."""
