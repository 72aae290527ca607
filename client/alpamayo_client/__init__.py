"""Client of an Alpamayo 1 server: one driving scene in, trajectories and the reasoning behind them out."""

from .aio import AsyncAlpamayoClient
from .choosing import Mode
from .client import AlpamayoClient
from .connection import Tls
from .errors import (
    AlpamayoError,
    InvalidRequestError,
    NoPlanError,
    NoSceneError,
    ServerError,
    TimedOutError,
    UnavailableError,
)
from .prediction import Prediction
from .robot.plan import Waypoint
from .robot.planning_counts import PlanningCounts
from .robot.planning_loop import PlanningLoop
from .robot.planning_thread import planning_thread
from .robot.resize import model_size, resize_for_model
from .robot.scene_buffer import SceneBuffer
from .robot.sending import encode_jpeg
from .scene import Scene
from .server_info import StageTime
from .what_if import Comparison, compare, compare_async

__all__ = [
    "AlpamayoClient",
    "AlpamayoError",
    "AsyncAlpamayoClient",
    "Comparison",
    "InvalidRequestError",
    "Mode",
    "NoPlanError",
    "NoSceneError",
    "PlanningCounts",
    "PlanningLoop",
    "Prediction",
    "Scene",
    "SceneBuffer",
    "ServerError",
    "StageTime",
    "TimedOutError",
    "Tls",
    "UnavailableError",
    "Waypoint",
    "compare",
    "compare_async",
    "encode_jpeg",
    "model_size",
    "planning_thread",
    "resize_for_model",
]
