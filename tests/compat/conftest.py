"""The application is data here: it is copied, renamed and run by processes of its own."""

collect_ignore = ["application"]
