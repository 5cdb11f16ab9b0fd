"""facevlm cache: what the replies of models behind an API take on disk, and forgetting them."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import Any

from tabulate import tabulate

from facevlm.backends.remote.cache import Cache
from facevlm.cli import _options


def add(commands: Any) -> None:
    cache = commands.add_parser(
        "cache",
        help="show or clear the kept replies of models behind an API",
        description="Replies are kept so that a face that was answered is not asked, and paid for, again. They hold "
        "labels, no pictures and no keys. FACEVLM_CACHE names another folder.",
    )
    cache.add_argument("action", choices=("info", "clear"))
    cache.add_argument("--model", help="clear only the replies of this model, as the server names it")
    _options.add_json(cache, "what is kept")
    cache.set_defaults(run=_cache)


def _cache(args: argparse.Namespace) -> None:
    _options.check_json(args.json)
    with closing(Cache()) as cache:
        if args.action == "clear":
            forgotten = cache.clear(args.model)
            print(f"{forgotten:,} replies forgotten.")
            _options.write_json(args.json, {"forgotten": forgotten})
            return
        info = cache.info()
    print(f"{info.path}: {info.size / 1e6:.1f} MB")
    rows = [[host, model, count] for (host, model), count in info.replies.items()]
    print(tabulate(rows, ["server", "model", "replies"]) if rows else "No replies are kept.")
    replies = [dict(zip(("server", "model", "replies"), row, strict=True)) for row in rows]
    _options.write_json(args.json, {"path": str(info.path), "bytes": info.size, "replies": replies})
