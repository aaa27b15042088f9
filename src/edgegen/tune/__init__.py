"""Federated fine-tuning: sites improve a shared model without sharing their pictures."""
