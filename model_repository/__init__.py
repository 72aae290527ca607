"""The model repository as it is in the source tree: a package only so that `alpamayo-export` finds it when installed."""
