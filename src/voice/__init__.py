"""Voice: what hurts users after a launch, how many, whether it is getting worse, and when hypercare may end."""

__version__ = "0.1.0"
