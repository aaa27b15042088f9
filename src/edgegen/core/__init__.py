"""Values that every room of the house shares: states, decisions, ledgers, profiles and policies."""
