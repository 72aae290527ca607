"""Teaches a small checkpoint of the released architecture to drive the road."""
