"""Procrastinate with its Django integration, on PostgreSQL."""
