"""The test project as its browser tests serve it: with a strict content security policy on every page."""

from testproject.settings import *  # noqa: F403 - all of them, to add one
from testproject.settings import MIDDLEWARE

MIDDLEWARE = [*MIDDLEWARE, "tests.browser.policy.strict"]
