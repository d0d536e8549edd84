"""Where feedback comes from beside the API: files, and accounts at vendors."""
