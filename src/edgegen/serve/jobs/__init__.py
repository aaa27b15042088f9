"""Jobs: requests that are accepted only once they are written down, and end exactly once whatever is killed meanwhile."""
