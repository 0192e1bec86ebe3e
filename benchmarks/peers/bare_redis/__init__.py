"""What redis-py and the server allow, with nothing in between."""
