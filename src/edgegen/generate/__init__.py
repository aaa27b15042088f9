"""Making pictures: grammar, samplers, the step-level engine, its backends, and the judge."""
