"""What a page is: whole by itself, valid, readable, escaped, the same whenever its run is."""

from __future__ import annotations

import base64
import io
import itertools
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_pages import FEW, Element, make_rows, parse, write_report_run

from medzoo.evaluation.predictions import load_predictions, write_predictions
from medzoo.reports.figures import Line, draw_lines
from medzoo.reports.report import write_report

SECTIONS = (
    "scores",
    "curves",
    "calibration",
    "selective",
    "confusion",
    "subgroups",
    "cases",
    "learning",
    "data",
    "plan",
    "configuration",
    "provenance",
)

HOSTILE = ("<script>alert(1)</script>", "\"><img src=x onerror='a'>", "$\\frac{1}{2}$ _x & y", "{{ 7 * 7 }}")


def report(source: Path, folder: Path, **options: object) -> Element:
    """Write a report and read it."""
    out = folder / "report.html"
    write_report(source, out, overwrite=True, resampling=FEW, **options)
    return parse(out.read_text(encoding="utf-8"))


def cells(table: Element) -> dict[str, list[str]]:
    """Give a table's rows by their heads."""
    rows = [[cell.text for cell in row.find_all("th", "td")] for row in table.find_all("tr")]
    return {head: rest for head, *rest in rows}


def test_every_section_is_there_and_linked(tree):
    assert [section.attributes["id"] for section in tree.find_all("section")] == list(SECTIONS)
    nav = tree.find_all("nav")[0]
    assert [link.attributes["href"] for link in nav.find_all("a")] == [f"#{name}" for name in SECTIONS]
    assert all(len(section.children) > 2 and section.text for section in tree.find_all("section"))


def test_of_a_whole_run_nothing_is_left_out(tree):
    assert not [
        section.attributes["id"] for section in tree.find_all("section") if "ot shown" in section.text
    ]


def test_nothing_is_asked_of_another_computer(page, tree):
    for element in tree.find_all():
        for name in ("href", "src", "action", "data", "srcset", "poster"):
            value = element.attributes.get(name, "#")
            assert value.startswith(("#", "data:")), f"{element.tag} {name}={value[:60]}"
    assert not re.search(r"https?:|@import|url\((?!#)", re.sub(r'(src|href)="data:[^"]*"', "", page))
    assert not tree.find_all("script", "iframe", "object", "embed")
    assert not [name for element in tree.find_all() for name in element.attributes if name.startswith("on")]
    policy = next(meta for meta in tree.find_all("meta") if "http-equiv" in meta.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'")


def test_headings_figures_and_tables_can_be_read_aloud(tree):
    levels = [int(heading.tag[1]) for heading in tree.find_all("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [element.attributes["id"] for element in tree.find_all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for table in tree.find_all("table"):
        assert table.find_all("caption")[0].text
        assert all(head.attributes.get("scope") in ("col", "row") for head in table.find_all("th"))
    for figure in tree.find_all("figure"):
        assert figure.find_all("figcaption")[0].text
    drawings = [svg for svg in tree.find_all("svg") if "swatch" not in svg.attributes.get("class", "")]
    assert len(drawings) >= 7
    assert all(svg.attributes["role"] == "img" and svg.attributes["aria-label"] for svg in drawings)
    assert all(image.attributes["alt"] for image in tree.find_all("img"))
    assert all(
        box.attributes.get("tabindex") == "0"
        for box in tree.find_all("div")
        if "scroll" in str(box.attributes)
    )


def test_references_within_drawings_lead_somewhere(page, tree):
    ids = {element.attributes.get("id") for element in tree.find_all()}
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert used <= ids
    assert used - set(SECTIONS)


def test_colours_follow_the_page(tree):
    drawn = " ".join(
        element.attributes.get("style", "") for svg in tree.find_all("svg") for element in svg.find_all()
    )
    assert "currentColor" in drawn
    assert "var(--series-1)" in drawn
    assert not re.search(r"#[0-9a-f]{6}", drawn.replace("#000000", ""))


def test_ink_has_contrast_in_both_schemes():
    style = (Path("medzoo/reports/templates/style.css")).read_text()
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(schemes) == 3
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        for name in ("ink", "soft", "link"):
            for behind in ("paper", "panel"):
                assert contrast(colours[name], colours[behind]) >= 4.5, (name, behind)
        for name in ("level-1", "level-2", "level-3", "level-4"):
            assert contrast(colours["ink"], colours[name]) >= 4.5, name
        for name in (f"series-{number}" for number in range(1, 7)):
            assert contrast(colours[name], colours["paper"]) >= 3, name


def contrast(first: str, second: str) -> float:
    """Give the contrast ratio of two colours as WCAG 2 defines it."""
    lights = []
    for colour in (first, second):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(
            sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        )
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("exclusive", [True, False])
def test_names_are_text_whatever_they_look_like(tmp_path, exclusive):
    plain = make_rows(240, HOSTILE, exclusive=exclusive)
    rows = replace(
        plain,
        ids=np.array([f'<b>"{row}"' for row in range(240)]),
        groups={"sex": np.where(plain.groups["sex"] == "F", "<i>F", "$M_1^2$")},
    )
    run = write_report_run(tmp_path / "a&b <c>", rows)
    tree = report(run, tmp_path)
    assert not tree.find_all("script", "b", "i")
    assert [image for image in tree.find_all("img") if image.attributes.get("src") == "x"] == []
    assert tree.find_all("h1")[0].text == "a&b <c>"
    text = tree.text
    assert all(name in text for name in HOSTILE)
    assert '<b>"' in tree.find("cases").text
    drawn = " ".join(svg.text for svg in tree.find("subgroups").find_all("svg"))
    assert "sex=<i>F" in drawn
    assert "sex=$M_1^2$" in drawn


def test_names_that_the_measuring_font_lacks_are_drawn_without_a_word(tmp_path):
    rows = make_rows(120, ("良性", "悪性"))
    rows = replace(rows, groups={"性別": np.where(rows.groups["sex"] == "F", "女", "男")})
    table = tmp_path / "p.csv"
    write_predictions(rows, table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = report(table, tmp_path)
    assert "性別=女" in tree.find("subgroups").find_all("svg")[0].text


def test_other_warnings_of_drawing_are_heard():
    endless = Line(np.array([0.0, 1.0]), np.array([-1.0, -2.0]))
    with pytest.warns(UserWarning, match="log-scaled"):
        draw_lines("a", "", [endless], x_label="女", y_label="y", is_share=False, is_logarithmic=True)


def test_signs_without_a_shape_are_replaced(tmp_path):
    rows = make_rows(60, ("a\u202eb", "c\x00\x1bd"))
    table = tmp_path / "p.csv"
    write_predictions(rows, table)
    tree = report(table, tmp_path)
    assert "a�b" in tree.text
    assert not [sign for sign in tree.text if not sign.isprintable()]


def test_the_same_run_gives_the_same_page(run, page, tmp_path):
    write_report(run, tmp_path / "again.html", resampling=FEW)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_pictures_are_the_images_themselves(run, tree):
    rows = load_predictions(run).of_split("test")
    cases = tree.find("cases")
    pictures = cases.find_all("img")
    assert len(pictures) == 12
    names = [name.text for name in cases.find_all("strong")]
    assert len({rows.patients[rows.ids.tolist().index(name)] for name in names[:6]}) == 6
    for name, picture in zip(names, pictures, strict=True):
        kind, _, encoded = picture.attributes["src"].partition(",")
        assert kind == "data:image/png;base64"
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
        assert pixels[3, 3] == int(name.removesuffix(".png"))
        assert name in picture.attributes["alt"]


def test_the_worst_case_is_the_most_wrong_one(run, tree):
    rows = load_predictions(run).of_split("test")
    losses = -np.log((rows.labels * rows.scores).sum(axis=1))
    names = [name.text for name in tree.find("cases").find_all("strong")]
    assert names[0] == rows.ids[losses.argmax()]
    assert names[6] == rows.ids[losses.argmin()]


def test_many_rows_make_no_long_page(tmp_path):
    table = tmp_path / "p.csv"
    write_predictions(make_rows(6000, ("a", "b", "c"), exclusive=False), table)
    tree = report(table, tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 600_000
    for path in tree.find_all("path"):
        assert path.attributes["d"].count("L") <= 500
    assert "at most 500 points" in tree.find("curves").text


@pytest.mark.slow
def test_a_report_loads_no_framework(run, tmp_path):
    code = (
        "import sys; from medzoo.cli import main\n"
        f"try: main(['report', {str(run)!r}, '--out', {str(tmp_path / 'r.html')!r}, '--replicates', '5'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'tensorflow', 'keras', 'torch', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(tmp_path / "r.html"), "[]"]
    assert (tmp_path / "r.html").stat().st_size > 10_000
