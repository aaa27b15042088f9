"""Plans of a hundred thousand users on a thousand servers: sparse instances, regions that exchange prices."""
