# SPDX-License-Identifier: MIT
"""The URLs of the one request that raise-error makes; the project's own error pages."""
from importlib import import_module

from django.conf import settings
from django.conf.urls import handler400, handler403, handler404, handler500
from django.urls import re_path

from .hatches import HatchError

_project = import_module(settings.ROOT_URLCONF)
handler500 = getattr(_project, "handler500", handler500)

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


def raise_it(request):
    raise HatchError(request.environ["hatchkit.message"])


urlpatterns = [re_path("", raise_it)]
