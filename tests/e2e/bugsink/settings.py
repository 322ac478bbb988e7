"""Bugsink for one run: nothing leaves loopback, everything is kept under $BUGSINK_FOLDER."""

import os

from bugsink.settings.default import *  # noqa: F403
from bugsink.settings.default import DATABASES

_FOLDER = os.environ["BUGSINK_FOLDER"]
_UNLIMITED = 1_000_000

DATABASES["default"]["NAME"] = f"{_FOLDER}/events.sqlite3"
DATABASES["snappea"]["NAME"] = f"{_FOLDER}/tasks.sqlite3"

# All data ends with the run, and only this machine can reach the tracker.
SECRET_KEY = "no secret: a tracker for one run, on loopback"
ALLOWED_HOSTS = ["127.0.0.1"]
DEBUG = False
TIME_ZONE = "UTC"

# An event can be asked for as soon as its sender has its answer, and there is no worker to start.
SNAPPEA = {"TASK_ALWAYS_EAGER": True}

SENTRY_DSN = None
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"

BUGSINK = {
    # Nobody follows the links: the port is not known before it listens.
    "BASE_URL": "http://127.0.0.1",
    "SINGLE_USER": True,
    "SINGLE_TEAM": True,
    "USER_REGISTRATION": "CB_NOBODY",
    # On by default: it calls its makers.
    "PHONEHOME": False,
    "INGEST_STORE_BASE_DIR": f"{_FOLDER}/ingestion",
    "MAX_EVENTS_PER_PROJECT_PER_5_MINUTES": _UNLIMITED,
    "MAX_EVENTS_PER_PROJECT_PER_HOUR": _UNLIMITED,
    "MAX_EVENTS_PER_5_MINUTES": _UNLIMITED,
    "MAX_EVENTS_PER_HOUR": _UNLIMITED,
}
