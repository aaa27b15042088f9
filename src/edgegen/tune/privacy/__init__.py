"""What of single pictures or sites may be seen, what noise that takes, and what an attacker finds."""
