"""The brokers: one room each, none knows another."""
