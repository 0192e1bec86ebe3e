"""Where the engine finds the misbehaving actors: it imports the `tasks` module of every installed app."""

from testproject import exclusive, gathering, misbehave

__all__ = ["exclusive", "gathering", "misbehave"]
