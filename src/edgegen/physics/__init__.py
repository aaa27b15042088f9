"""The parts that systems vary: channels, occupancy, energy and objectives."""
