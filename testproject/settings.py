"""Settings of the test project: one environment variable for each thing that differs between places."""

from pathlib import Path
from typing import Any

import environ

from testproject import mysql_driver

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()

# Good enough for a demo on your own machine, never for a public site.
SECRET_KEY = env.str("SECRET_KEY", default="for the demo and the tests only, not a secret at all")
DEBUG = env.bool("DEBUG", default=True)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", "testserver"])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_tasks_q",
    "testproject",  # for its tasks.py: the actors that misbehave on command
    "testproject.library",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"
ASGI_APPLICATION = "testproject.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Writers take turns instead of failing half-way (IMMEDIATE), and readers never wait for them (WAL).
SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


def database(url_variable: str, default: str) -> dict[str, Any]:
    """The database an environment variable names; SQLite set up for several processes, MySQL for many connections."""
    config: dict[str, Any] = env.db_url(url_variable, default=default)
    if config["ENGINE"] == "django.db.backends.sqlite3":
        config["OPTIONS"] = SQLITE_OPTIONS | config.get("OPTIONS", {})
    if config["ENGINE"] == "django.db.backends.mysql":
        mysql_driver.prepare()
        config["OPTIONS"] = mysql_driver.options(config["HOST"]) | config.get("OPTIONS", {})
    return config


DATABASES = {"default": database("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
if "SECOND_DATABASE_URL" in env:  # for a broker that does not live in the database of the models
    DATABASES["second"] = database("SECOND_DATABASE_URL", default="")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# DJANGO_TASKS_Q_JSON lets a test change any setting of a worker that it starts as a process.
DJANGO_TASKS_Q: dict[str, Any] = {
    "BROKER_URL": env.str("BROKER_URL", default="database://default"),
    "NAMESPACE": env.str("TASKS_NAMESPACE", default="dtq"),
    **env.json("DJANGO_TASKS_Q_JSON", default={}),
}

# How long the demo's printing press takes for a page.
PRESS_SECONDS = env.float("PRESS_SECONDS", default=1.5)

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
