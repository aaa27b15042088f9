"""The gateway: HTTP, clocks, workers and storage around the pure dispatcher."""
