"""Finding feedback: filters, keywords, meaning."""

from voice.search.filters import FeedbackFilter, conditions
from voice.search.items import decode_cursor, encode_cursor, find_ids, one_item, read_items
from voice.search.keyword import keyword_condition
from voice.search.semantic import most_similar

__all__ = [
    "FeedbackFilter",
    "conditions",
    "decode_cursor",
    "encode_cursor",
    "find_ids",
    "keyword_condition",
    "most_similar",
    "one_item",
    "read_items",
]
