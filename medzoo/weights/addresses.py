"""Addresses of weights: what a file at one is called, and how one is printed."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from medzoo.errors import WeightsError

#: Endings of two parts; of any other name the last part is the ending.
_DOUBLE_SUFFIXES = (".weights.h5", ".pth.tar", ".pt.tar", ".tar.gz")


def find_suffix(url: str) -> str:
    """Give the ending of the file that an address names.

    >>> find_suffix("https://example.org/a/best.v1.pth.tar?download=1")
    '.pth.tar'
    """
    name = PurePosixPath(split_address(url).path).name
    double = next((suffix for suffix in _DOUBLE_SUFFIXES if name.endswith(suffix)), "")
    suffix = double or PurePosixPath(name).suffix
    return suffix if re.fullmatch(r"[\w.]{0,16}", suffix) else ""


def read_file_url(url: str) -> Path:
    """Give the path that a `file://` address names.

    Raises:
        WeightsError: it names another machine, or no whole path.

    >>> str(read_file_url("file:///a%20b.h5"))
    '/a b.h5'
    """
    host, slash, path = url.partition("://")[2].partition("/")
    if host.lower() not in ("", "localhost") or not slash or "\0" in unquote(path):
        raise WeightsError(f"cannot open address {clean(url)!r}", "file:///path on this machine")
    return Path(f"/{unquote(path)}")


def split_address(url: str) -> SplitResult:
    """Split an address into its parts.

    Raises:
        WeightsError: it is none.
    """
    try:
        return urlsplit(url)
    except ValueError as error:
        raise WeightsError(f"cannot open address {clean(url)!r} ({error})", "https://host/file") from error


def show_address(url: str) -> str:
    """Give an address as it may be printed: without a user's name and password.

    >>> show_address("https://me:secret@example.org/a.h5")
    'https://example.org/a.h5'
    """
    return clean(re.sub(r"(?<=://)[^/@]*@", "", url))


def clean(text: str) -> str:
    """Replace what a terminal would act on, in words that came from outside.

    >>> clean("a\\x1b[31m b")
    'a?[31m b'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
