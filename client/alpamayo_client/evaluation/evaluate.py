"""An evaluation from end to end. Its folder holds:

journal.jsonl: rows as they came, from which a run that was stopped goes on; settings.json: what was asked with;
results.parquet: a row per scene, see schema.SCHEMA; labels.parquet if wanted: a row per trajectory, see labels.SCHEMA;
summary.json; worst.html.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..aio import AsyncAlpamayoClient
from ..errors import AlpamayoError, InvalidRequestError, ServerError, TimedOutError, UnavailableError
from .asking import Asking
from .journal import Journal
from .labels import write_labels
from .page import write_page
from .results import RESULTS, write_results
from .run import answer_all
from .settings import keep_settings
from .source import SceneKey, Source
from .summary import summarize, summary_lines

SETTINGS = "settings.json"


def evaluate(
    server: Mapping[str, Any],
    source: Source,
    output: Path,
    asking: Asking,
    *,
    concurrency: int,
    worst: int,
    label: bool,
) -> None:
    """Asks for the scenes that are not answered yet, or have changed since, then writes and prints what there is.

    server: arguments of AsyncAlpamayoClient.

    Raises InvalidRequestError if `output` holds answers to another question or the server refuses the parameters, and,
    when all that is there is written, AlpamayoError if it is not everything: interrupted, server gone, scenes that
    failed. The same call then goes on.
    """
    keys = source.keys
    output.mkdir(parents=True, exist_ok=True)
    with Journal(output / "journal.jsonl") as journal:
        _forget_changed(source, keys, journal)
        stopped = _ask(server, source, keys, output, journal, asking, concurrency)
        if (output / SETTINGS).exists():  # something was asked, now or before
            settings = json.loads((output / SETTINGS).read_text(encoding="utf-8"))
            write_results(output / RESULTS, {"source": source.identity, **settings}, journal.rows(keys))
            _report(output, source, worst, label)
        done = len(journal.answered.keys() & set(keys))
        errors = journal.failed
        failed = [(key, errors[key]) for key in keys if key in errors]
    saved = f"{done} of {len(keys)} scenes are answered and saved in {output}; the same command asks for the others"
    if stopped:
        raise AlpamayoError(f"{stopped}: {saved}")
    if failed:
        key, error = failed[0]
        raise AlpamayoError(f"{len(failed)} scenes failed, the first is {key} ({error}): {saved}")


def _forget_changed(source: Source, keys: Sequence[SceneKey], journal: Journal) -> None:
    """An answer is kept for as long as its scene is the one that was asked about, wherever that is by now."""
    answered = journal.answered
    changed = [key for key in keys if key in answered and not _is_still(source, key, answered[key])]
    for key in changed:
        journal.forget(key)
    if changed:
        print(f"{len(changed)} scenes have changed since they were answered, the first is {changed[0]}: asking again")


def _is_still(source: Source, key: SceneKey, fingerprint: str) -> bool:
    try:
        return source.fingerprint(key) == fingerprint
    except (InvalidRequestError, OSError):
        return False


def _ask(
    server: Mapping[str, Any],
    source: Source,
    keys: Sequence[SceneKey],
    output: Path,
    journal: Journal,
    asking: Asking,
    concurrency: int,
) -> str | None:
    """Why it stopped before the end, if it did."""

    async def ask() -> None:
        async with AsyncAlpamayoClient(**server) as client:
            await client.wait_until_ready(asking.wait_s)
            model = await client.metadata()
            del model["server"]  # another Triton is the same model
            settings = {"parameters": asking.parameters, "model": model}
            keep_settings(output / SETTINGS, settings, begun=journal.begun)
            answered = journal.answered
            open_keys = [key for key in keys if key not in answered]
            await answer_all(client, source, open_keys, journal, asking, concurrency, model)

    try:
        asyncio.run(ask())
    except KeyboardInterrupt:
        return "interrupted"
    except (UnavailableError, TimedOutError, ServerError) as error:
        return str(error)
    return None


def _report(output: Path, source: Source, worst: int, label: bool) -> None:
    results = output / RESULTS
    summary = summarize(results)
    (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if label:
        write_labels(output / "labels.parquet", results)
    print("\n".join(summary_lines(summary)))
    write_page(output / "worst.html", results, source, worst)
    print(f"wrote {', '.join(sorted(path.name for path in output.iterdir()))} to {output}")
