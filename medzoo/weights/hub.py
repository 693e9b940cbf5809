"""`hf://` addresses: single files of Hugging Face's hub, through its own client."""

from __future__ import annotations

import logging
from pathlib import Path

from medzoo.errors import WeightsError
from medzoo.weights.addresses import clean

_FORM = "hf://owner/repository/path/to/file, with @revision after it where needed"

#: The client's errors by name, most telling first in each one's line of classes → the reason in our words.
#: By name, since their module has moved between versions of the client.
_REASONS = {
    "GatedRepoError": "its owner asks you to accept terms and to log in: see its page, then hf auth login",
    "RepositoryNotFoundError": "there is no such repository, or it is private and you are not logged in",
    "RevisionNotFoundError": "there is no such revision",
    "LocalEntryNotFoundError": "it is not cached and the hub cannot be reached",
    "EntryNotFoundError": "there is no such file in the repository",
}


def fetch_from_hub(url: str, folder: Path, offline: bool) -> Path:
    """Give the file at an `hf://` address, downloaded into the client's cache at `folder` on first use.

    Raises:
        WeightsError: the address has another form, the client is not installed, or the hub refuses.
    """
    repository, file, revision = split_hub_url(url)
    try:
        import huggingface_hub
    except ImportError as error:
        raise WeightsError(
            f"{clean(url)} needs huggingface_hub, which is not installed",
            "Hugging Face's client",
            "pip install 'medzoo[hub]'",
        ) from error
    # The client tells every retry; what it comes to is told once, below.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        path = huggingface_hub.hf_hub_download(
            repository, file, revision=revision or None, cache_dir=folder, local_files_only=offline
        )
    except Exception as error:
        raise WeightsError(
            f"cannot download {clean(url)} ({_find_reason(error, offline)})",
            "a file of the hub or of its cache",
            "a weights file as --src",
        ) from error
    return Path(path)


def split_hub_url(url: str) -> tuple[str, str, str]:
    """Split an `hf://` address into repository, file and revision (empty: the newest).

    Raises:
        WeightsError: it has another form.

    >>> split_hub_url("hf://google/vit-base/model.safetensors@main")
    ('google/vit-base', 'model.safetensors', 'main')
    """
    rest, _, revision = url.partition("://")[2].partition("@")
    parts = rest.split("/")
    # The client makes folders of these names in the cache.
    names = [*parts, *(revision.split("/") if "@" in url else ())]
    if len(parts) < 3 or any(name in ("", ".", "..") for name in names):
        raise WeightsError(f"cannot open address {clean(url)!r}", _FORM)
    return "/".join(parts[:2]), "/".join(parts[2:]), revision


def _find_reason(error: Exception, offline: bool) -> str:
    """Say in one line why the client failed."""
    names = [kind.__name__ for kind in type(error).__mro__]
    if offline and "LocalEntryNotFoundError" in names:
        return "it is not cached and MEDZOO_OFFLINE is set"
    reason = next((_REASONS[name] for name in names if name in _REASONS), "")
    lines = [line for line in str(error).splitlines() if line.strip()]
    return reason or clean(lines[0] if lines else type(error).__name__)[:160]
