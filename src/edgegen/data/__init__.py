"""Data that comes with the package: profiles of real models and devices, and the published facts they are made of."""
