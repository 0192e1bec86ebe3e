"""The demo: a small library is read, and its words are counted, by actors."""
