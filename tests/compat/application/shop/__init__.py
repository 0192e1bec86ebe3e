"""A small shop that does its background work with Dramatiq."""
