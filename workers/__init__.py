"""The background edge: knows Celery and Voice, knows nothing of the API."""
