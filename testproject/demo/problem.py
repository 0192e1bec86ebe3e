"""What goes wrong in the demo, in words for the person in front of it."""


class Problem(Exception):
    """The demo cannot go on, or what it checked is not as it should be."""
