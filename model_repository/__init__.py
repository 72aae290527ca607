"""The model repository as the tree has it; a package only so that `alpamayo-export` finds it when installed."""
