"""Rounds between a server and sites, carried by Flower; knows nothing of what is learnt."""
