"""The gateway's addresses, one small module per theme."""
