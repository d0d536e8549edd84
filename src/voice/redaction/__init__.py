"""Personal data found and masked before anything is stored."""

from voice.redaction.engine import Redactor
from voice.redaction.kinds import VERSION, JSONValue, Kind, Redacted, Span

__all__ = ["VERSION", "JSONValue", "Kind", "Redacted", "Redactor", "Span"]
