"""``georeset``: the verbs from a shell. Parsing and printing are here; the work is done by the layers above."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from georeset_lab.dashboard.command import add_serve
from georeset_lab.errors import GeoresetError, GeoresetWarning, RecipeError, SceneReadError

if TYPE_CHECKING:
    from georeset_lab.data.scene import Scene

Result = TypeVar("Result")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 = done, 2 = refused with a reason, 130 = stopped by the user.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process by default.
    """
    args = _parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.simplefilter("always", GeoresetWarning)
        warnings.showwarning = _note
        try:
            args.run(args)
        except (GeoresetError, OSError) as err:
            if args.debug:
                raise
            print(f"georeset: {err}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("\ngeoreset: stopped; the same command goes on where it can.", file=sys.stderr)
            return 130
    return 0


def _note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, GeoresetWarning):
        print(f"note: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    from georeset_lab import __version__

    parser = argparse.ArgumentParser(
        prog="georeset", description="Embedding maps of satellite scenes, with uncertainty."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show the whole trace of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_encode(commands)
    _add_train(commands)
    _add_evaluate(commands)
    add_serve(commands)
    _add_export(commands)
    models = commands.add_parser("models", help="list the models that come with the package")
    models.set_defaults(run=_models)
    return parser


# -- demo ------------------------------------------------------------------------------------------------------------


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="from a simulated scene to a labelled map, as one HTML page")
    demo.add_argument("--out", type=Path, default=Path("georeset_demo.html"), help="the page (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="which landscape (default: %(default)s)")
    demo.add_argument("--size", type=int, default=192, help="side in 10 m pixels (default: %(default)s)")
    demo.add_argument("--model", default="default", help="name or folder of the encoder (default: %(default)s)")
    demo.set_defaults(run=_demo)


def _demo(args: argparse.Namespace) -> None:
    import georeset_lab as gl
    from georeset_lab.data.truth import truth_labels, truth_place
    from georeset_lab.embed.latent.project import UmapWorker
    from georeset_lab.widgets.page import build_page
    from georeset_lab.widgets.page_frame import write_page

    clock = _Clock()
    # UMAP compiles in its own process while the scene is simulated and encoded.
    with UmapWorker() as umap:
        scene = clock.time("simulate", lambda: gl.load_scene("simulated", seed=args.seed, size=(args.size, args.size)))
        clock.say(f"{', '.join(f'{n} ({len(scene[n].bands)} bands)' for n in scene)}")
        emb = clock.time("encode", lambda: gl.encode(scene, model=args.model, progress=False))
        clock.say(f"{emb.shape[1]} x {emb.shape[0]} pixels, {emb.dim} dimensions, each with its variance")
        query = truth_place(scene, "built")
        hits = clock.time("similar", lambda: gl.similar(emb, at=query, k=20))
        clock.say(f"{len(hits.places)} places like the town at {query[0]:.4f}, {query[1]:.4f}")
        labels = truth_labels(scene, per_class=20, seed=args.seed)
        probe = clock.time("probe", lambda: gl.probe(emb, labels, scene=scene, seed=args.seed))
        clock.say(_scores(probe.report))
        prediction = clock.time("predict", lambda: probe.predict(emb))
        clock.say(f"{len(probe.classes_)} classes, probability and reasons for doubt for each pixel")

        def page() -> Path:
            html = build_page(
                scene, emb, hits=hits, query=query, query_note="in the town", probe=probe, prediction=prediction,
                umap=umap, timings=clock.spent, seed=args.seed,
            )  # fmt: skip
            return write_page(args.out, html)

        where = clock.time("page", page)
    clock.say(f"{where.stat().st_size / 1e6:.1f} MB, stands alone")
    print(f"\n{sum(clock.spent.values()):.0f} s in all. Open {where.as_uri()}")


def _scores(report: Any) -> str:
    pairs = [f"{name} {row['balanced_accuracy']:.2f}" for name, row in report.iterrows()]
    return "balanced accuracy by spatial block: " + ", ".join(pairs)


class _Clock:
    """Says what is going on and how long it took."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def time(self, step: str, work: Callable[[], Result]) -> Result:
        print(f"{step:<9}", end="", flush=True)
        start = perf_counter()
        result = work()
        self.spent[step] = perf_counter() - start
        return result

    def say(self, text: str) -> None:
        print(f"{list(self.spent.values())[-1]:7.1f} s   {text}", flush=True)


# -- encode ----------------------------------------------------------------------------------------------------------


def _add_encode(commands: Any) -> None:
    encode = commands.add_parser("encode", help="embed a scene into a Zarr store; an interrupted run is resumed")
    encode.add_argument(
        "source", nargs="+", help="path, folder or 'simulated'; NAME=PATH for each of several modalities"
    )
    encode.add_argument("--out", type=Path, required=True, metavar="STORE", help="Zarr store to write")
    encode.add_argument(
        "--sensor", action="append", default=[], metavar="[NAME=]SENSOR", help="such as s2=sentinel-2-l2a"
    )
    encode.add_argument("--model", default="default", help="name or folder of the encoder (default: %(default)s)")
    encode.add_argument("--modality", action="append", metavar="NAME", help="encode only these")
    encode.add_argument("--resolution", type=float, metavar="METRES", help="pixel of the map; the finest by default")
    encode.add_argument("--dtype", choices=("float32", "float16", "int8"), default="float16")
    encode.add_argument("--device", default="auto")
    encode.add_argument("--fast", action="store_true", help="give up accuracy that hardly shows for speed")
    encode.add_argument("--quiet", action="store_true", help="no progress bar")
    encode.set_defaults(run=_encode)


def _encode(args: argparse.Namespace) -> None:
    import georeset_lab as gl

    scene = gl.load_scene(_named(args.source), sensors=_named(args.sensor) if args.sensor else None)
    emb = gl.encode(
        scene,
        model=args.model,
        modalities=args.modality,
        resolution_m=args.resolution,
        out=args.out,
        dtype=args.dtype,
        device=args.device,
        fast=args.fast,
        progress=not args.quiet,
    )
    print(f"{args.out}: {emb.shape[1]} x {emb.shape[0]} pixels, {', '.join(emb.modalities)}, {emb.grid.crs}")
    print(f"Open it with georeset_lab.open_embeddings({str(args.out)!r}).")


def _named(items: Sequence[str]) -> Any:
    """``["a"]`` -> ``"a"``; ``["s2=a", "s1=b"]`` -> a dictionary; a mixture is refused."""
    pairs = [item.partition("=") for item in items]
    if len(items) == 1 and not pairs[0][1]:
        return items[0]
    if not all(mark and name for name, mark, _ in pairs):
        raise SceneReadError(
            f"Got {', '.join(items)}. Give one item, or NAME=ITEM for each of several modalities: s2=S2.tif s1=S1.tif"
        )
    return {name: value for name, _, value in pairs}


# -- export ----------------------------------------------------------------------------------------------------------


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="the explorer as one HTML file that needs no kernel and no network")
    export.add_argument("source", metavar="SCENE_OR_ZARR", help="scene, or Zarr store of a scene or of embeddings")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.html", help="the page to write")
    export.add_argument(
        "--labels", type=Path, metavar="FILE", help="GeoJSON or GeoTIFF: adds the class map and its doubts"
    )
    export.add_argument("--sensor", action="append", default=[], metavar="[NAME=]SENSOR", help="such as sentinel-2-l2a")
    export.add_argument("--model", default="default", help="name or folder of the encoder (default: %(default)s)")
    export.add_argument("--no-umap", action="store_true", help="PCA alone: half a minute faster")
    export.add_argument("--quiet", action="store_true", help="no progress bar")
    export.set_defaults(run=_export)


def _export(args: argparse.Namespace) -> None:
    import georeset_lab as gl
    from georeset_lab.dashboard.sources import Source, make_sources
    from georeset_lab.embed.labels.book import LabelBook
    from georeset_lab.embed.latent.landmarks import umap_layout
    from georeset_lab.widgets.page_export import drawn_labels, export_page
    from georeset_lab.widgets.page_frame import write_page
    from georeset_lab.widgets.state import Exploration

    source = make_sources([args.source])[0]
    scene, emb = Source(source.title, source.origin, _named(args.sensor) if args.sensor else None).open()
    if emb is None:
        emb = gl.encode(scene, model=args.model, progress=not args.quiet)
    state, book = Exploration(emb, scene), LabelBook()
    if args.labels is not None:
        probe = gl.probe(emb, args.labels, scene=scene)
        state.prediction = probe.predict(emb)
        print(_scores(probe.report))
        if args.labels.suffix.lower() not in (".tif", ".tiff"):
            book.add_labels(args.labels, grid=emb.grid)
    umap = None if args.no_umap else umap_layout(emb)
    colours = {c.name: c.colour for c in book.classes}
    html = export_page(state, labels=drawn_labels(book), class_colours=colours, layouts=[umap] if umap else [])
    where = write_page(args.out, html)
    print(f"{where}: {where.stat().st_size / 1e6:.1f} MB, stands alone. Open {where.as_uri()}")


# -- train -----------------------------------------------------------------------------------------------------------


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train an encoder by a recipe")
    train.add_argument("recipe", help="name of a recipe of the package, or a JSON file")
    train.add_argument("--data", type=Path, metavar="DIR", help="folder below which the recipe's real scenes lie")
    train.add_argument("--out", type=Path, metavar="DIR", help="checkpoints and model (default: georeset_runs/RECIPE)")
    train.add_argument(
        "--objective",
        choices=("predict", "pmi", "infonce", "elk", "csd", "prolip", "decur", "comm", "factorcl"),
        help="instead of the recipe's",
    )
    train.add_argument("--steps", type=int, help="instead of the recipe's")
    train.add_argument("--minutes", type=float, help="stop after so long")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--teacher", type=Path, metavar="DIR", help="folder of Galileo nano's weights, to learn from")
    train.add_argument("--init", help="name or folder of a model to start from")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out")
    train.add_argument("--device", default="auto")
    train.add_argument("--quiet", action="store_true", help="no progress bar")
    train.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> None:
    from georeset_lab.api import train
    from georeset_lab.train.recipe import load_recipe

    recipe = load_recipe(args.recipe)
    out = args.out or Path("georeset_runs") / recipe.name.replace(":", "-")  # no disk of Windows takes a colon
    if out.exists() and any(out.iterdir()) and not args.resume:
        raise RecipeError(f"{out} holds a run already. Add --resume to go on with it, or give another --out.")
    scenes: list[Scene] = recipe.scenes(args.data)
    model = train(
        scenes,
        recipe=recipe,
        objective=args.objective,
        steps=args.steps,
        minutes=args.minutes,
        seed=args.seed,
        out=out,
        init=args.init,
        teacher=args.teacher,
        device=args.device,
        progress=not args.quiet,
    )
    print(
        f"{out / 'model'}: {model.name}, weights {model.hash}. Use it with encode(scene, model={str(out / 'model')!r})."
    )


# -- evaluate, models ------------------------------------------------------------------------------------------------


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="tables on real data: few-shot land cover, uncertainty, sensors")
    evaluate.add_argument(
        "table",
        choices=("first", "partial", "sensors"),
        help="few labels beside cheap baselines; how right the uncertainty is; labels across sensors beside rival encoders",
    )
    evaluate.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of the data sets")
    evaluate.add_argument(
        "--models", type=Path, metavar="DIR", help="folder of trained encoders, one for each row and seed"
    )
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="where the tables and finished rows are written")
    evaluate.add_argument("--galileo", type=Path, metavar="DIR", help="folder of Galileo nano's weights, for its rows")
    evaluate.add_argument(
        "--adapt", type=float, metavar="MINUTES", help="add rows adapted to each scene, without labels"
    )
    evaluate.add_argument("--quick", action="store_true", help="few tasks and draws: a minute or a few")
    evaluate.add_argument("--processes", type=int, help="worker processes; as many as cores, up to 4, by default")
    evaluate.add_argument("--quiet", action="store_true", help="no progress bar")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    from georeset_lab.evaluate import first, partial, sensors

    shared = {"quick": args.quick, "out": args.out, "progress": not args.quiet}
    found: first.Evaluation | partial.Partial | sensors.Sensors
    if args.table == "partial":
        found = partial.run(args.data, args.models, **shared)
    elif args.table == "sensors":
        found = sensors.run(args.data, args.models, **shared)
    else:
        own = {"processes": args.processes, "galileo": args.galileo, "adapt_minutes": args.adapt}
        found = first.run(args.data, args.models, **shared, **own)
    print(found.markdown)
    for path in found.paths:
        print(f"written: {path}")


def _models(_: argparse.Namespace) -> None:
    from georeset_lab.models.checkpoint import list_models, load_model

    for name in list_models():
        model = load_model(name)
        size = sum(p.numel() for p in model.encoder.parameters()) / 1e6
        steps, objective = model.card.get("steps", "?"), model.card.get("objective", "?")
        print(f"{name:<12} {size:5.2f} M parameters   {objective}, {steps} steps   weights {model.hash}")
