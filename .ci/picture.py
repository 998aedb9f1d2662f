"""Make notebooks/story.png, the picture in README, from the simulated scene alone: python .ci/picture.py [MODEL]."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import georeset_lab as gl
from georeset_lab.data.truth import truth_labels
from georeset_lab.embed.pictures.colours import class_image, pca_rgb, scale_image
from georeset_lab.widgets import page_images as images

OUT = Path(__file__).resolve().parents[1] / "notebooks" / "story.png"
ZOOM, GAP, LINE = 2, 16, 74
PAPER, INK, SOFT = (255, 255, 255), (23, 32, 28), (86, 99, 92)


def panels(model: str) -> list[tuple[str, str, np.ndarray]]:
    """Heading, note and RGBA picture of each panel."""
    scene = gl.load_scene("simulated", size=(192, 192))
    emb = gl.encode(scene, model=model, progress=False)
    canvas = images.Canvas.of(emb)
    s2 = scene["s2"]
    bands = images.nearest_bands(s2, (0.665, 0.56, 0.49))
    assert bands is not None
    probe = gl.probe(emb, truth_labels(scene, per_class=20), scene=scene)
    label = probe.predict(emb)["label"].values.astype(int)
    names = [str(c) for c in probe.classes_]
    seen = images.natural(canvas.read(s2, bands, images.best_date(s2)))
    mean, _, observed = emb.vectors()
    low, high = np.nanpercentile(canvas.certainty, [1, 99])
    score = probe.report.loc["embedding", "balanced_accuracy"]
    return [
        ("1  Five sensors", "Sentinel-2 of the simulated scene, 1.9 km", seen),
        ("2  Embedding", "64 dimensions per 10 m pixel, PCA as colour", pca_rgb(mean, observed, emb.shape)),
        (
            "3  Certainty",
            f"all sensors together: dark = {low:.2f}, bright = {high:.2f} of 1",
            scale_image(canvas.certainty, low=float(low), high=float(high)).rgba(),
        ),
        (
            "4  Labelled map",
            f"20 labels a class; held-out balanced accuracy {score:.2f}",
            class_image(label, len(names), palette=images.class_colours(names)).rgba(),
        ),
    ]


def main() -> None:
    """Compose and write the picture."""
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    bold = ImageFont.truetype(str(fonts / "DejaVuSans-Bold.ttf"), 21)
    plain = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 14)
    found = panels(sys.argv[1] if len(sys.argv) > 1 else "default")
    height, width = (n * ZOOM for n in found[0][2].shape[:2])
    sheet = Image.new("RGB", (len(found) * width + (len(found) - 1) * GAP, height + LINE), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, (heading, note, picture) in enumerate(found):
        left = i * (width + GAP)
        image = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(image, (left, 0), image)
        pen.text((left, height + 12), heading, fill=INK, font=bold)
        pen.text((left, height + 44), note, fill=SOFT, font=plain)
    sheet.quantize(256, dither=Image.Dither.NONE).save(OUT, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
