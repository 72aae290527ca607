"""Where scenes come from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..scene import Scene


@dataclass(frozen=True)
class SceneKey:
    """Tells a scene from all others of its source."""

    scene_id: str
    """The file's name without .npz, or the clip's id."""
    t0_us: int | None
    """Microseconds of the clip's clock; None for a file."""

    def __str__(self) -> str:
        return self.scene_id if self.t0_us is None else f"{self.scene_id} at {self.t0_us / 1e6:g} s"


class Source(ABC):
    """Scenes by key."""

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, str | None]:
        """What `open_source` opens it with again."""

    @property
    @abstractmethod
    def keys(self) -> list[SceneKey]:
        """All of them, in the order in which they are asked for."""

    @abstractmethod
    def fingerprint(self, key: SceneKey) -> str:
        """Another one if `load` would give another scene; quickly read. Raises what `load` raises."""

    @abstractmethod
    def load(self, key: SceneKey) -> Scene:
        """Called from several threads. Raises InvalidRequestError or OSError, saying which scene."""


def open_source(identity: Mapping[str, Any]) -> Source:
    """The source of an earlier run, for `load` alone. Raises what its class raises."""
    from .npz_folder import NpzFolder
    from .physical_ai_av import PhysicalAiAv

    return NpzFolder(**identity) if "folder" in identity else PhysicalAiAv(**identity)
