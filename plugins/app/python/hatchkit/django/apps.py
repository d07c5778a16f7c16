# SPDX-License-Identifier: MIT
import importlib
import logging

from django.apps import AppConfig


class HatchkitConfig(AppConfig):
    name = "hatchkit.django"
    label = "hatchkit_django"
    verbose_name = "Maintenance hatches"

    def ready(self):
        try:
            from django.utils.module_loading import autodiscover_modules

            for module in ("hatchkit.logging", "hatchkit.runtime", "hatchkit.django.hatches"):
                importlib.import_module(module)
            autodiscover_modules("hatches")
        except Exception:  # an app starts without its maintenance doors rather than not at all
            logging.getLogger("hatchkit").exception("the hatches of this project could not all be opened")
