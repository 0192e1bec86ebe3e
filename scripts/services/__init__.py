"""Makes sure that what the tests need is there: servers that answer, and programs that the tests start themselves.

A server, in this order: the one that answers at the configured address; Debian's own package, when we are root; a
container, when docker answers. A program: the one that is installed, else, when we are root, Debian's package.
What cannot be had fails the run. No test is ever skipped because of it.
"""
