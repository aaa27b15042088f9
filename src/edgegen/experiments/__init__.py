"""Scenarios put to work: one plan with its report and pictures, and studies that vary a scenario and compare methods."""
