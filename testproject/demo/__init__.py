"""`python -m testproject.demo`: the library with a web server and workers, ready to look at; or, with --once, checked."""
