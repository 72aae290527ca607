"""Many scenes through the server: `alpamayo evaluate` and `alpamayo view`. Needs the extra `evaluate`."""
