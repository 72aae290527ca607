"""One scene of each situation: what the model sees, thinks and would drive."""

from dataclasses import dataclass

from alpamayo_client import Prediction
from alpamayo_client.metrics import min_ade
from PIL import Image, ImageDraw

from alpamayo_demo.road.cameras import FRONT_TELE, FRONT_WIDE, HEIGHT_PX, WIDTH_PX
from alpamayo_demo.road.scenes import DrivingScene, Moment
from alpamayo_demo.road.situations import named

from .camera_view import camera_view
from .from_above import from_above
from .ink import (
    ASPHALT,
    DRIVEN,
    FINER,
    MUTED,
    PAPER,
    PREDICTED,
    RIGHT,
    WRONG,
    Trail,
    canvas,
    finished,
    fitted,
    trail,
    write,
)

COLUMNS = 3
WIDE_PX, TELE_PX, ABOVE_PX, VIEW_PX = 384, 140, 132, 230  # of the views; a wide camera's height follows
GAP_PX, CAPTION_PX, HEADER_PX = 20, 46, 54
CELL_PX = (WIDE_PX + 4 + ABOVE_PX, VIEW_PX + CAPTION_PX)


@dataclass(frozen=True, eq=False)
class Answered:
    """A scene, the moment it was made from, and what the model says to it."""

    moment: Moment
    scene: DrivingScene
    prediction: Prediction

    def right(self, sample: int) -> bool:
        """Whether that thought names the situation."""
        return named(str(self.prediction.cot[0, 0, sample])) is self.scene.situation


def sheet(answers: list[Answered]) -> Image.Image:
    """COLUMNS in a row, under a headline, and what is what in one more cell."""
    rows = len(answers) // COLUMNS + 1
    width = COLUMNS * (CELL_PX[0] + GAP_PX) + GAP_PX
    page = canvas(width, HEADER_PX + rows * (CELL_PX[1] + GAP_PX))
    right = sum(answer.right(0) for answer in answers)
    headline = f"One unseen scene of each situation: {right} of {len(answers)} thoughts name it"
    write(page, GAP_PX, 14, headline, 20, bold=True)
    for i, answer in enumerate(answers):
        _draw_cell(page, *_corner(i), answer)
    _draw_legend(page, *_corner(len(answers)), answers[0].prediction.cot.shape[2])
    return finished(page)


def _corner(i: int) -> tuple[int, int]:
    """Left and top of cell i."""
    row, column = divmod(i, COLUMNS)
    return GAP_PX + column * (CELL_PX[0] + GAP_PX), HEADER_PX + row * (CELL_PX[1] + GAP_PX)


def _draw_legend(page: Image.Image, left: int, top: int, samples: int) -> None:
    pen = ImageDraw.Draw(page)
    lines = (
        (PREDICTED, 4, f"{samples} predicted trajectories, 6.4 s"),
        (DRIVEN, 2, "what the scripted driver plans"),
    )
    for row, (colour, width, text) in enumerate(lines):
        y = top + 24 * row
        pen.rectangle([value * FINER for value in (left, y, left + 26, y + 16)], ASPHALT)
        pen.line([value * FINER for value in (left + 4, y + 8, left + 22, y + 8)], colour, width * FINER)
        write(page, left + 36, y, text, 14)
    marks = (("✓", RIGHT, "the first thought names the situation"), ("✗", WRONG, "it names another, or none"))
    for row, (mark, colour, text) in enumerate(marks):
        write(page, left + 8, top + 24 * (row + 2), mark, 14, colour, bold=True)
        write(page, left + 36, top + 24 * (row + 2), text, 14)
    size = f"{WIDTH_PX} x {HEIGHT_PX} pixels"
    write(page, left, top + 108, "Left: front wide and, in its corner, front tele,", 14, MUTED)
    write(page, left, top + 128, f"as the model gets them ({size}), enlarged.", 14, MUTED)
    write(page, left, top + 148, "Right: the same from above.", 14, MUTED)


def _draw_cell(page: Image.Image, left: int, top: int, answer: Answered) -> None:
    world, ego = answer.moment.past[-1]
    trails = _trails(answer)
    page.paste(camera_view(world, ego, FRONT_WIDE, WIDE_PX, trails), (left * FINER, top * FINER))
    tele = camera_view(world, ego, FRONT_TELE, TELE_PX, trails)
    x, y = (left + WIDE_PX) * FINER - tele.width - 4 * FINER, (top + 4) * FINER
    ImageDraw.Draw(page).rectangle((x - FINER, y - FINER, x + tele.width, y + tele.height), PAPER)
    page.paste(tele, (x, y))
    above = from_above(world, ego, ABOVE_PX, VIEW_PX, trails)
    page.paste(above, ((left + WIDE_PX + 4) * FINER, top * FINER))
    _write_caption(page, left, top + VIEW_PX + 6, answer)


def _trails(answer: Answered) -> list[Trail]:
    ego, xyz = answer.moment.ego, answer.prediction.pred_xyz[0, 0]
    predicted = [trail(sample, ego, PREDICTED) for sample in xyz]
    return [*predicted, trail(answer.scene.ego_future_xyz, ego, DRIVEN, dashed=True)]


def _write_caption(page: Image.Image, left: int, top: int, answer: Answered) -> None:
    right, thoughts = answer.right(0), answer.prediction.cot[0, 0]
    write(page, left, top, "✓" if right else "✗", 15, RIGHT if right else WRONG, bold=True)
    write(page, left + 20, top, fitted(str(thoughts[0]), 15, CELL_PX[0] - 20, bold=True), 15, bold=True)
    error_m = min_ade(answer.prediction.pred_xyz, answer.scene.ego_future_xyz)
    count = sum(answer.right(sample) for sample in range(len(thoughts)))
    truth = "" if right else f"It is: {answer.scene.situation.value}  "
    note = f"{truth}{count} of {len(thoughts)} right, minADE {error_m:.2f} m"
    write(page, left + 20, top + 21, fitted(note, 11, CELL_PX[0] - 20), 11, MUTED if right else WRONG)
