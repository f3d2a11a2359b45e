"""The chat in real browsers, used as people do."""
