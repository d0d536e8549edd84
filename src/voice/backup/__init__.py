"""Backup and restore of a whole installation, from either database into either."""

from voice.backup.archive import Archive, Manifest, opened
from voice.backup.dump import back_up, export_erasures
from voice.backup.places import place_of
from voice.backup.restoring import Restored, restore

__all__ = ["Archive", "Manifest", "Restored", "back_up", "export_erasures", "opened", "place_of", "restore"]
