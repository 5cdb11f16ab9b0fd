"""facevlm cache: what the replies of models behind an API take on disk, and forgetting them."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from tabulate import tabulate

from facevlm.backends.remote.cache import Cache


def add(commands: Any) -> None:
    cache = commands.add_parser(
        "cache",
        help="show or clear the kept replies of models behind an API",
        description="Replies are kept so that a face that was answered is not asked, and paid for, again. They hold "
        "labels, no pictures and no keys. FACEVLM_CACHE names another folder.",
    )
    cache.add_argument("action", choices=("info", "clear"))
    cache.add_argument("--model", help="clear only the replies of this model, as the server names it")
    cache.set_defaults(run=_cache)


def _cache(args: argparse.Namespace) -> None:
    with closing(Cache()) as cache:
        if args.action == "clear":
            print(f"{cache.clear(args.model):,} replies forgotten.")
            return
        info = cache.info()
    print(f"{info.path}: {info.size / 1e6:.1f} MB")
    rows = [[host, model, count] for (host, model), count in info.replies.items()]
    print(tabulate(rows, ["server", "model", "replies"]) if rows else "No replies are kept.")
