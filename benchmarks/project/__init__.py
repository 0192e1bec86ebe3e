"""The Django project that is measured: the package, a task that does nothing, and no more."""
