"""django-tasks-db: the database backend of Django's own tasks."""
