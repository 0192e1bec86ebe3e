"""The process that runs no people's code: it keeps workers' leases and clears up after the dead.

Nothing is imported here: operations and pages use some of these rooms, and would have every web process load the rest.
"""
