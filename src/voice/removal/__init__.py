"""Removal of feedback from everything derived from it: what erasure, retention and a restore share."""

from voice.removal.jobs import begin, finish, locked, note, unfinished
from voice.removal.rows import Removed, remove_feedback

__all__ = ["Removed", "begin", "finish", "locked", "note", "remove_feedback", "unfinished"]
