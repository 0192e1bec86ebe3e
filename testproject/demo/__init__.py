"""`python -m testproject.demo`: the library with a web server and workers, to look at or (--once) to be checked."""
