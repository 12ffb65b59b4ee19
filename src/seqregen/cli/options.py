"""The commands and their options. Imports nothing heavy, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from .. import __version__
from .console import CommandError

__all__ = ["COLUMNS", "HELD_OUT", "LOSSES", "NEGATIVE_SAMPLING", "TEACHERS", "build_parser", "chosen", "seed"]

LOSSES = ("sampled_softmax", "ce", "gbce", "bce", "bpr")
NEGATIVE_SAMPLING = ("auto", "uniform", "popularity", "in_batch")
PRECISIONS = ("float32", "bfloat16")
COLUMNS = ("user", "item", "time")
TEACHERS = ("sasrec-and-fmlp", "sasrec")
HELD_OUT = ("none", "validation", "test", "validation-and-test")

_INPUT_HELP = """text, one line a user: "user item item ..." (oldest item first), or Parquet (.parquet): what
regenerate wrote, a frame with the columns user, item and time, or one column of lists (and a column user)"""

# Name of the estimator's parameter, type or choices, and help. What is not given keeps the estimator's default.
_Options = Sequence[tuple[str, Any, str]]
_MINER: _Options = (
    ("window", int, "positions that a pattern must fit in, gaps included (default 5)"),
    ("min_support", int, "sequences that must hold a pattern (default 2)"),
    ("max_patterns_per_sequence", int, "patterns paired with one sequence, drawn at random (default 10)"),
)
_REGENERATOR: _Options = (
    ("n_memories", int, "memories, that is new rows tried for each sequence (default 5)"),
    ("generative_rate", float, "chance that a step may choose any item, not only the sequence's own (default 0.1)"),
    ("max_epochs", int, "epochs of the regenerator (default 40)"),
    ("embedding_dim", int, "size of its item vectors (default 64)"),
    ("batch_size", int, "pairs in a training batch (default 256)"),
    ("learning_rate", float, "of its optimizer (default 0.001)"),
)
_TEACHER: _Options = (
    ("n_items", int, "items drawn behind each row (default 10)"),
    ("n_copies", int, "new rows for each row, each drawn anew (default 1)"),
    ("temperature", float, "below 1 likely items are drawn more often than the teacher expects them (default 0.5)"),
    ("weight", float, "weight of drawn items in training (default 0.3; 1 for a model under bce)"),
)
_SASREC: _Options = (
    ("loss", LOSSES, "training loss (default sampled_softmax; bce is the published one, and weaker)"),
    (
        "n_negatives",
        int,
        "negative items (default: 4096 for sampled_softmax, 256 for gbce, else 1; not used by ce and in_batch)",
    ),
    (
        "negative_sampling",
        NEGATIVE_SAMPLING,
        "default auto: by popularity for sampled_softmax, else uniform; where --negatives is not given either, "
        "sampled_softmax sums over all of up to 4096 items instead",
    ),
    ("embedding_dim", int, "size of item vectors and states (default 64)"),
    ("n_layers", int, "Transformer layers (default 2)"),
    ("n_heads", int, "attention heads; must divide the size (default 2)"),
    ("hidden_dim", int, "size inside the feed-forward parts (default 128)"),
    ("dropout", float, "dropout rate (default 0.5)"),
    ("max_length", int, "the last items of a history that are read (default 50)"),
    ("learning_rate", float, "of Adam (default 0.001)"),
    ("batch_size", int, "rows in a training batch (default 256)"),
    ("max_epochs", int, "most epochs (default 1000: early stopping ends sooner)"),
    ("patience", int, "epochs below the best validation NDCG@20 before stopping (default 20)"),
    ("precision", PRECISIONS, "what training rounds matrix products to (default float32)"),
)


# Options whose name is not that of the parameter.
_SHORTER = {
    name: name.partition("_")[2]
    for name in ("n_memories", "n_negatives", "n_layers", "n_heads", "max_epochs", "n_items", "n_copies")
}


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see {self.prog} --help)")


class _CommandParser(_Parser):
    """The parser of one command, which complains of unknown options itself: its help is where the known ones are."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown


def chosen(options: argparse.Namespace, group: str) -> dict[str, Any]:
    """The estimator parameters given on the command line: those of "miner", "regenerator", "teacher" or "sasrec"."""
    prefix = f"{group}__"
    given = {name.removeprefix(prefix): value for name, value in vars(options).items() if name.startswith(prefix)}
    return {name: value for name, value in given.items() if value is not None}


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="seqregen",
        description="Regenerate the training data of sequential recommenders: mine patterns, regenerate rows,\n"
        "train SASRec on the result, and score it under full ranking.",
        epilog="examples:\n"
        "  seqregen demo                                       no file needed\n"
        "  seqregen describe ratings.txt\n"
        "  seqregen regenerate ratings.txt -o regenerated.parquet\n"
        "  seqregen teach ratings.txt -o taught.parquet\n"
        "  seqregen train ratings.txt --regenerate --leave-one-out -o model.joblib\n"
        "  seqregen score model.joblib ratings.txt\n"
        "\n'seqregen COMMAND --help' shows options and examples of each command.",
    )
    parser.add_argument("--version", action="version", version=f"seqregen {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_CommandParser)
    for add in (_add_demo, _add_describe, _add_mine, _add_regenerate, _add_teach, _add_train, _add_score):
        add(commands)
    return parser


def _add_demo(commands: Any) -> None:
    parser = _command(
        commands,
        "demo",
        "the whole way on generated data, with a table before and after",
        "Generate sequences with planted transitions, mine them, regenerate them, train SASRec on the original rows,\n"
        "on original + mined rows (the control) and on all rows, and print Recall and NDCG of each under full\n"
        "ranking. No file, no network; a minute or two on two cores. Progress bars are always on.",
        "  seqregen demo\n  seqregen demo --seed 7 --size 3000",
    )
    parser.add_argument("--size", type=int, default=1500, metavar="N", help="number of sequences (default 1500)")
    _add_seed(parser)
    # Networks this small are fastest on one thread.
    _add_computing(parser, threads=1)


def _add_describe(commands: Any) -> None:
    parser = _command(
        commands,
        "describe",
        "statistics of a file",
        "Print the table of statistics that papers print: users, items, interactions, mean length, sparsity.",
        "  seqregen describe ratings.txt\n  seqregen describe regenerated.parquet",
    )
    _add_input(parser)


def _add_mine(commands: Any) -> None:
    parser = _command(
        commands,
        "mine",
        "the frequent patterns of a file",
        "Find the ordered patterns (gaps allowed) that lie within a window of enough sequences.\n"
        "Prints the most frequent ones; -o writes all, most frequent first, with their support.",
        "  seqregen mine ratings.txt --window 5 --min-support 2 -o patterns.parquet\n"
        "  seqregen mine ratings.txt --window 10 -o patterns.csv",
    )
    _add_input(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=".parquet, .csv or .tsv (columns pattern, support, length; in .csv and .tsv the items of a pattern are "
        "separated by spaces), or .txt (support, then the items)",
    )
    _add_options(parser, "miner", _MINER[:2], "mining")
    parser.add_argument("--max-length", dest="miner__max_length", type=int, metavar="N", help="longest pattern")
    parser.add_argument("--engine", dest="miner__engine", choices=("vectorised", "seq2pat"), help="what mines")
    parser.add_argument("--jobs", dest="miner__n_jobs", type=int, metavar="N", help="threads (default 1; -1 for all)")
    _add_hold_out(parser, kept="dropped, too, as patterns have none")


def _add_regenerate(commands: Any) -> None:
    parser = _command(
        commands,
        "regenerate",
        "write a regenerated training set",
        "Mine patterns, train a regenerator on the pairs (sequence -> pattern), and write the original rows, then the\n"
        "mined ones, then the regenerated ones. The rows of FILE are training rows as they are, unless --hold-out\n"
        "moves last items out first: what is scored later must not be seen here.",
        "  seqregen regenerate train.txt -o regenerated.parquet\n"
        "  seqregen regenerate ratings.txt --hold-out validation-and-test -o regenerated.parquet\n"
        "  seqregen regenerate train.txt --include regenerated -o new-rows.txt",
    )
    _add_input(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help=".parquet keeps everything (origin, source row, pairs, validation items); .txt keeps the rows alone",
    )
    _add_hold_out(parser)
    parser.add_argument(
        "--include",
        nargs="+",
        choices=("original", "mined", "regenerated"),
        metavar="PART",
        help="parts to write: original, mined, regenerated (default all three)",
    )
    parser.add_argument(
        "--highest-rank",
        type=int,
        metavar="N",
        help="leave added rows away whose last item a SASRec, trained on the original rows, does not rank among its "
        "first N (default: none are; 100 was better than all rows on Beauty and Toys, by 2 to 5 %% at the same epochs)",
    )
    # Lists of values would swallow the file behind them.
    parser.usage = "%(prog)s FILE -o OUT [options]"
    _add_regeneration(parser)
    parser.add_argument(
        "--reference", action="store_true", help="the published script's behaviour where it differs from the paper"
    )
    _add_seed(parser)
    _add_computing(parser)


def _add_teach(commands: Any) -> None:
    parser = _command(
        commands,
        "teach",
        "write a training set whose rows a trained recommender continues",
        "Train recommenders on the rows of FILE, let them continue each row by items that they expect, and write the\n"
        "original rows, then the longer ones, of which the drawn items alone are learnt. Not DR4SR: in the project's\n"
        "benchmarks it is better, and takes longer. The rows of FILE are training rows as they are, unless --hold-out\n"
        "moves last items out first.",
        "  seqregen teach train.txt -o taught.parquet\n"
        "  seqregen teach ratings.txt --hold-out validation-and-test --teacher sasrec -o taught.parquet\n"
        "  seqregen train taught.parquet -o model.joblib",
    )
    _add_input(parser)
    parser.add_argument(
        "-o", "--output", metavar="OUT", required=True, help=".parquet, which keeps the weights of the items"
    )
    _add_hold_out(parser)
    parser.add_argument(
        "--teacher",
        choices=TEACHERS,
        default=TEACHERS[0],
        help="sasrec-and-fmlp (default), the better one, or sasrec alone, in a fraction of the time",
    )
    _add_options(parser, "teacher", _TEACHER, "what the teacher draws")
    _add_seed(parser)
    _add_computing(parser)


def _add_train(commands: Any) -> None:
    parser = _command(
        commands,
        "train",
        "train SASRec and save it",
        "Train SASRec. Of raw histories the last item of each row is held out for early stopping; --regenerate mines\n"
        "and regenerates the rest first. A Parquet file that 'seqregen regenerate' wrote is trained on as it is.\n"
        "To score the model honestly, hold the test items out: --leave-one-out leaves each row's last item out of\n"
        "everything, and 'seqregen score' then ranks just these items. Without it the model is for use.",
        "  seqregen train ratings.txt --regenerate --leave-one-out -o model.joblib\n"
        "  seqregen train ratings.txt --loss bce --embedding-dim 128 -o model.joblib\n"
        "  seqregen train regenerated.parquet -o model.joblib",
    )
    _add_input(parser)
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help=".joblib or .pkl, for joblib.load")
    parser.add_argument(
        "--leave-one-out", action="store_true", help="leave each row's last item, the test item, out of training"
    )
    parser.add_argument("--regenerate", action="store_true", help="mine and regenerate the training rows first")
    parser.add_argument(
        "--reference",
        action="store_true",
        help="the published settings: SASRec with one-negative bce; with --regenerate the published regenerator",
    )
    _add_options(parser, "sasrec", _SASREC, "SASRec")
    _add_regeneration(parser, "regenerator-", " (with --regenerate)")
    _add_seed(parser)
    _add_computing(parser)


def _add_score(commands: Any) -> None:
    parser = _command(
        commands,
        "score",
        "Recall and NDCG of a model, or its predictions",
        "Rank the last item of each row of FILE, after the items before it, among all items of the model; ties count\n"
        "against it. Items of the history are left out of the ranking unless --keep-history is given. The figures are\n"
        "honest only for a model that did not train on these items (train --leave-one-out); otherwise this warns.\n"
        "A model file is a pickle: load only files that you trust.",
        "  seqregen score model.joblib ratings.txt\n  seqregen score model.joblib ratings.txt --predict 10 -o next.txt",
    )
    parser.add_argument("model", metavar="MODEL", help="what 'seqregen train' wrote")
    _add_input(parser)
    # Lists of values would swallow the files behind them.
    parser.usage = "%(prog)s MODEL FILE [-k K [K ...]] [options]"
    parser.add_argument("-k", nargs="+", type=int, metavar="K", help="list lengths of the scores (default 10 20)")
    parser.add_argument("--keep-history", action="store_true", help="let items of the history compete")
    parser.add_argument(
        "--predict", type=int, metavar="N", help="instead of scoring, list the N best next items after each whole row"
    )
    parser.add_argument("-o", "--output", metavar="OUT", help="with --predict: .txt or .parquet (default stdout)")
    _add_computing(parser)


def _command(commands: Any, name: str, summary: str, description: str, examples: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=description, epilog=f"examples:\n{examples}")
    parser.set_defaults(run=("demo" if name == "demo" else "commands", name))
    volume = parser.add_argument_group("messages")
    volume.add_argument("-q", "--quiet", action="store_true", help="print the result, warnings and errors alone")
    volume.add_argument("-v", "--verbose", action="store_true", help="progress bars even where stderr is no terminal")
    volume.add_argument("--debug", action="store_true", help="show where in the code an error arises")
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=_INPUT_HELP)
    section = parser.add_argument_group("columns of a Parquet file with one interaction a row")
    for role in COLUMNS:
        section.add_argument(f"--{role}", metavar="COLUMN", help=f"its column of {role}s (default {role})")


def _add_options(parser: argparse.ArgumentParser, group: str, options: _Options, title: str, prefix: str = "") -> None:
    section = parser.add_argument_group(title)
    for name, kind, text in options:
        flag = f"--{prefix}{_SHORTER.get(name, name).replace('_', '-')}"
        settings: dict[str, Any] = {"choices": kind} if isinstance(kind, tuple) else {"type": kind}
        metavar = None if isinstance(kind, tuple) else "X" if kind is float else "N"
        section.add_argument(flag, dest=f"{group}__{name}", metavar=metavar, help=text, **settings)


def _add_regeneration(parser: argparse.ArgumentParser, prefix: str = "", when: str = "") -> None:
    _add_options(parser, "miner", _MINER, f"mining{when}")
    _add_options(parser, "regenerator", _REGENERATOR, f"regenerator{when}", prefix)


def _add_hold_out(
    parser: argparse.ArgumentParser, kept: str = "kept aside by a Parquet output, for early stopping"
) -> None:
    parser.add_argument(
        "--hold-out",
        choices=HELD_OUT,
        default="none",
        help="what to move out of the rows first. none (default): the rows are training rows as they are; test: the "
        "last item, which is dropped; validation: the last item, which is "
        f"{kept}; validation-and-test: both, the last item as under test, the last but one as under validation",
    )


def seed(text: str) -> int:
    """What numpy takes for a seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be an integer between 0 and {2**32 - 1}; got {text!r}")
    return int(text)


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="makes the result repeatable (default 0)")


def _add_computing(parser: argparse.ArgumentParser, threads: int | None = None) -> None:
    shown = "default: torch's own choice" if threads is None else f"default {threads}"
    parser.add_argument("--device", default="auto", help="auto (default: CUDA if there is one), cpu, cuda, cuda:1")
    parser.add_argument(
        "--threads",
        type=int,
        default=threads,
        metavar="N",
        help=f"CPU threads ({shown}; on a machine that is busy with other work, 1 is by far the fastest)",
    )
