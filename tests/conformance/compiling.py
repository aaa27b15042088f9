"""Compiling for tests: small arrays need no fast code, and networks with their gradients take long to compile."""

import functools

import jax

quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
