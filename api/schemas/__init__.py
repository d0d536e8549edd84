"""Wire shapes of requests and answers."""
