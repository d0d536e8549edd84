"""Tables, sessions, dialect differences and migrations."""
