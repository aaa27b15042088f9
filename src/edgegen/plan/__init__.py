"""State to Decision by optimisation: the joint planner and the reference rules."""
