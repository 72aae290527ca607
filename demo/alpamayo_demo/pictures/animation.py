"""A drive as an animation: both cameras, the road from above, the plan, the thought, the speed."""

from pathlib import Path

from PIL import Image

from alpamayo_demo.drive.loop import Tick
from alpamayo_demo.road.cameras import FRONT_TELE, FRONT_WIDE
from alpamayo_demo.road.ego import DT_S
from alpamayo_demo.road.solids import GREEN, ORANGE, RED, YELLOW

from .camera_view import camera_view
from .from_above import from_above
from .ink import FINER, MUTED, PREDICTED, canvas, finished, fitted, trail, write

WIDE_PX, TELE_PX, ABOVE_PX, GAP_PX, HEADER_PX = 400, 240, 180, 8, 44
VIEWS_PX = (240, 144)  # how high the two cameras' images are
WIDTH_PX, HEIGHT_PX = WIDE_PX + ABOVE_PX + 3 * GAP_PX, HEADER_PX + sum(VIEWS_PX) + 2 * GAP_PX
COLOURS = 128
PALETTE_FRAMES = 12


def save_animation(path: Path, ticks: list[Tick]) -> None:
    """A GIF, as long as the drive."""
    frames = [frame(tick, i * DT_S) for i, tick in enumerate(ticks)]
    palette = _palette(frames[:: max(1, len(frames) // PALETTE_FRAMES)])
    small = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in frames]
    small[0].save(path, save_all=True, append_images=small[1:], duration=round(1000 * DT_S), loop=0, optimize=False)


def frame(tick: Tick, seconds: float) -> Image.Image:
    """One state of the drive."""
    page = canvas(WIDTH_PX, HEIGHT_PX)
    plan = [trail(tick.plan.xyz, tick.planned_at, PREDICTED)]
    lower = HEADER_PX + VIEWS_PX[0] + GAP_PX
    for camera, width, top in ((FRONT_WIDE, WIDE_PX, HEADER_PX), (FRONT_TELE, TELE_PX, lower)):
        page.paste(camera_view(tick.world, tick.ego, camera, width, plan), (GAP_PX * FINER, top * FINER))
    above = from_above(tick.world, tick.ego, ABOVE_PX, HEIGHT_PX - HEADER_PX - GAP_PX, plan)
    page.paste(above, ((WIDE_PX + 2 * GAP_PX) * FINER, HEADER_PX * FINER))
    write(page, GAP_PX, 11, fitted(tick.plan.thought, 18, WIDTH_PX - 2 * GAP_PX, bold=True), 18, bold=True)
    _write_numbers(page, TELE_PX + 3 * GAP_PX, lower, tick, seconds)
    return finished(page)


def _write_numbers(page: Image.Image, left: int, top: int, tick: Tick, seconds: float) -> None:
    write(page, left, top + 6, f"{3.6 * tick.ego.speed:.0f}", 46, bold=True)
    write(page, left, top + 62, "km/h", 14, MUTED)
    write(page, left, top + 96, f"{seconds:.1f} s", 14, MUTED)
    write(page, left, top + 116, f"{tick.ego.s:.0f} m", 14, MUTED)


def _palette(frames: list[Image.Image]) -> Image.Image:
    """One for all frames: colours that change from frame to frame flicker."""
    together = Image.new("RGB", (WIDTH_PX, HEIGHT_PX * len(frames)))
    for i, image in enumerate(frames):
        together.paste(image, (0, i * HEIGHT_PX))
    found = together.quantize(COLOURS, method=Image.Quantize.MEDIANCUT).getpalette() or []
    signals = [
        round(255 * value) for colour in (RED, ORANGE, GREEN, YELLOW) for value in colour
    ]  # small, but they matter
    palette = Image.new("P", (1, 1))
    palette.putpalette(found[: 3 * COLOURS] + signals)
    return palette
