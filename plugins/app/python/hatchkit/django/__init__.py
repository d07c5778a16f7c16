# SPDX-License-Identifier: MIT
"""INSTALLED_APPS += ["hatchkit.django"] brings raise-error, send-mail, dump-settings, log-level, threads, gc and
tracemalloc to every process of a Django project. Hatches are found in `hatches.py` of each installed app."""

default_app_config = "hatchkit.django.apps.HatchkitConfig"  # Django before 3.2
