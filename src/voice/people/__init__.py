"""People: everything kept of one author, and its erasure from everything derived."""

from voice.people.erasure import allow, erase, finish_erasures, reapply_erasures
from voice.people.identity import authors_of, export, feedback_of, find_people, record_reading

__all__ = [
    "allow",
    "authors_of",
    "erase",
    "export",
    "feedback_of",
    "find_people",
    "finish_erasures",
    "reapply_erasures",
    "record_reading",
]
