"""What pika and the server allow, with nothing in between."""
