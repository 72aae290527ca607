"""`alpamayo-verify`: whether an exported repository computes what its checkpoint does."""

import alpamayo_model_repository.on_path  # noqa: F401  # for the stages' modules, which are run here
