"""What the package costs and what it can do, measured with real processes and with peers beside it."""
