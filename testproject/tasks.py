"""Where the engine finds the misbehaving actors: it imports the `tasks` module of every installed app."""

from testproject import exclusive, misbehave

__all__ = ["exclusive", "misbehave"]
