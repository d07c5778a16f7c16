__version__ = "1.0.0"
PROTOCOL = 1  # docs/hatchkit.md of hatchd
