"""`alpamayo-verify`: whether an exported repository computes what its checkpoint does."""
