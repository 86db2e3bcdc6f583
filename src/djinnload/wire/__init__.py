"""Sans-IO codecs: bytes in, messages out; no socket, no clock."""
