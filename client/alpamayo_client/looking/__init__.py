"""Scenes and predictions in the viewer of Rerun (rerun.io). Needs the extra `rerun`."""

from ..extras import extra

try:
    import rerun  # noqa: F401  here, once for all modules of this package
except ImportError as error:
    raise ImportError(f"recordings need more packages ({error}): {extra('rerun')}") from error
