"""Models of the Hugging Face hub: fetched with its own client into its own cache, and found there the next time."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from alpamayo_export.errors import ExportError

_MODEL = re.compile(r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")


def is_hub_id(name: str) -> bool:
    """Whether it could be one: OWNER/MODEL or OWNER/MODEL@REVISION."""
    return _MODEL.fullmatch(name) is not None


def fetch(name: str, patterns: Sequence[str]) -> Path:
    """The folder in the hub's cache with a model's files that fit `patterns`, fetched as far as they are not there.

    Its own name is the commit's. The client shows its progress, takes up a connection that breaks where it stopped, and
    keeps the files that it has fetched whole.

    Args:
        name: what is_hub_id() takes. Without a revision: `main`.
        patterns: as a shell's.

    Raises:
        ExportError: the model cannot be had; says what to do.
    """
    match = _MODEL.fullmatch(name)
    assert match is not None
    model, revision = match["id"], match["revision"]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(patterns)))
    # Their errors have no common base: some come from the HTTP library, which changes with the client's versions.
    except Exception as error:
        raise ExportError(f"{name} of the hub ({constants.ENDPOINT}): {_what_to_do(error, model, revision)}") from error


def _what_to_do(error: Exception, model: str, revision: str | None) -> str:
    page = f"{constants.ENDPOINT}/{model}"
    match error:
        case GatedRepoError():  # is a RepositoryNotFoundError, too
            return (
                f"its licence wants to be accepted: do so at {page}, then `hf auth login` here or set HF_TOKEN to a "
                "token of the same account"
            )
        case RepositoryNotFoundError():
            return (
                "there is no such model, or it is private: check the name, or `hf auth login` (or set HF_TOKEN) as "
                "somebody who may read it"
            )
        case RevisionNotFoundError():
            return f"it has no branch, tag or commit {revision}: see {page}/tree/main"
        case LocalEntryNotFoundError() if constants.HF_HUB_OFFLINE:
            return (
                f"HF_HUB_OFFLINE is set, and it is not, or not whole, in the cache {constants.HF_HUB_CACHE}: unset it, "
                "or set HF_HOME to a cache that has it, or pass a folder"
            )
        case LocalEntryNotFoundError():
            return (
                f"the hub cannot be reached ({_first_line(error.__cause__ or error)}): check the network, proxy and "
                "HF_ENDPOINT, or pass a folder that was fetched elsewhere with `hf download`"
            )
        case OSError(errno=int()) if not isinstance(error, HfHubHTTPError):
            return (
                f"{error.strerror} in the cache {constants.HF_HUB_CACHE}: make room, or set HF_HOME to a folder on "
                "another disk; what is there already is kept"
            )
    return f"the download broke off ({_first_line(error)}): run the same command again, files that are whole are kept"


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line), type(error).__name__)
