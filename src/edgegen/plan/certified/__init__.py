"""The certified planner: assignment, steps and shares for many users, with a lower bound on what any plan can reach."""
