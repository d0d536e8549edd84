"""What models say of a verbatim, and how it is kept."""
