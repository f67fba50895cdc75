"""The settings of the site."""

import os
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

_ADDRESS = conninfo_to_dict(os.environ["DATABASE_URL"])
_NAMES = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        **{_NAMES[name]: value for name, value in _ADDRESS.items() if name in _NAMES},
    }
}
TASKS = {"default": {"BACKEND": "m25.django.TaskBackend"}}

DEBUG = True
SECRET_KEY = "of an example"  # noqa: S105
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
INSTALLED_APPS = ["orders"]
MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
ROOT_URLCONF = "orders.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
