"""The demo, and the Django project the tests run in."""
