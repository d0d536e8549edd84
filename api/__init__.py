"""The HTTP edge: knows FastAPI and Voice, knows nothing of the workers."""
