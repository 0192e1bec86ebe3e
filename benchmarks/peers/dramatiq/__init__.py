"""Dramatiq without records, on Redis and RabbitMQ."""
