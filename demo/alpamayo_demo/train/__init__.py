"""Teaches a small checkpoint of the released architecture to drive the road."""

import alpamayo_model_repository.on_path  # noqa: F401  # for the stages' modules, which are trained for
