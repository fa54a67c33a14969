"""The page: one HTML file that needs nothing but its pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape

from tomoservice.recipe.text import write_yaml

STYLE = """
:root { color-scheme: light; --line: #d5d9e0; --soft: #5b6472; --ink: #1b1f27; --back: #f7f8fa; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); }
header, main, footer { max-width: 1320px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
h1 { font-size: 28px; margin: 0 0 6px; }
h2 { font-size: 22px; margin: 44px 0 6px; padding-top: 12px; border-top: 2px solid var(--ink); }
h3 { font-size: 17px; margin: 0 0 4px; }
p { margin: 0 0 10px; max-width: 85ch; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 14px 0; }
a { color: #1d4ed8; }
article { background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: 16px;
  margin: 16px 0; }
.row { display: grid; grid-template-columns: repeat(var(--n), minmax(0, 430px)); gap: 14px; margin: 10px 0; }
.row.wide { grid-template-columns: 1fr; }
@media (max-width: 1150px) { .row { grid-template-columns: repeat(var(--m), minmax(0, 430px)); } }
figure { margin: 0; min-width: 0; }
figure.text { align-self: center; color: var(--soft); font-size: 14px; text-align: right; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 0 20px; }
figure img { display: block; width: 100%; height: auto; background: #000; }
.row.difference img { background: #808080; }
figcaption { font-size: 14px; padding-top: 6px; overflow-wrap: anywhere; }
figcaption b { display: block; font-size: 15px; }
.soft, .window { color: var(--soft); font-size: 14px; }
.window { margin: 0 0 6px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 10px; margin: 4px 0; }
dt { color: var(--soft); }
dd { margin: 0; font-variant-numeric: tabular-nums; }
pre { margin: 6px 0; padding: 6px 8px; background: #f1f3f6; border-radius: 4px; font-size: 13px;
  line-height: 1.4; overflow-x: auto; }
details { font-size: 14px; margin: 4px 0; }
summary { cursor: pointer; color: var(--soft); }
.skipped { border: 1px dashed #b45309; border-radius: 4px; padding: 10px; background: #fffbeb;
  font-size: 14px; }
.plot { margin: 10px 0; max-width: 860px; }
.plot figcaption span { margin-right: 18px; white-space: nowrap; }
.plot i { display: inline-block; width: 18px; height: 3px; margin: 0 6px 3px 0; vertical-align: middle; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; width: 100%; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td:first-child { min-width: 150px; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
footer { padding: 30px 24px; }
"""

Facts = Sequence[tuple[str, str]]
MOST_ACROSS, MOST_ACROSS_SMALL = 6, 4
"""Pictures beside one another, on a wide and on a narrower screen."""


@dataclass(frozen=True)
class Panel:
    """A picture with its caption.

    Parameters
    ----------
    title
        Heading of the caption.
    file
        Picture beside the page; None if there is none.
    size
        Width and height of the picture.
    facts
        Names and values.
    recipe
        What the recipe says, as YAML.
    full_recipe
        The recipe with every value filled in, shown on demand.
    notes
        What the plan had to say, shown on demand.
    problem
        Why there is no picture.
    text
        Stands in the place of a picture.
    """

    title: str
    file: str | None = None
    size: tuple[int, int] = (0, 0)
    facts: Facts = ()
    recipe: str = ""
    full_recipe: str = ""
    notes: tuple[str, ...] = ()
    problem: str = ""
    text: str = ""

    def with_facts(self, facts: Facts) -> Panel:
        """Return the panel with names and values in its caption."""
        return replace(self, facts=facts)

    def with_recipe(self, recipe: str, full_recipe: str, notes: tuple[str, ...]) -> Panel:
        """Return the panel with the recipe, and what the plan had to say, in its caption."""
        return replace(self, recipe=recipe, full_recipe=full_recipe, notes=notes)


@dataclass(frozen=True)
class Part:
    """Pictures in a row that share a grey scale.

    Parameters
    ----------
    panels
        The pictures.
    window
        What the grey scale is, in words.
    kind
        "" for slices, "wide" for pictures as broad as the page, "difference" for signed ones.
    """

    panels: tuple[Panel, ...]
    window: str
    kind: str = ""


@dataclass
class Article:
    """One comparison on the page."""

    title: str
    why: str
    common: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Stages that all recipes share."""
    parts: list[Part] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    """SVG figures."""
    table: str = ""

    def html(self) -> str:
        """Return it as HTML."""
        rows = "".join(_part(part) for part in self.parts)
        plots = f'<div class="plots">{"".join(self.plots)}</div>' if self.plots else ""
        common = ""
        if self.common:
            text = escape(recipe_text(self.common))
            common = f"<details><summary>What all these recipes say</summary><pre>{text}</pre></details>"
        return (
            f'<article id="{anchor(self.title)}"><h3>{escape(self.title)}</h3><p>{escape(self.why)}</p>'
            f"{common}{self.table}{rows}{plots}</article>"
        )


def anchor(title: str) -> str:
    """Return the name by which a link finds a heading."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def recipe_text(stages: Mapping[str, Mapping[str, object]]) -> str:
    """Return stages as YAML; what says nothing is the default recipe."""
    if not stages:
        return "# as the default recipe"
    return write_yaml({name: dict(stage) for name, stage in stages.items()}).rstrip()


def _part(part: Part) -> str:
    figures = "".join(_panel(panel) for panel in part.panels)
    window = f'<p class="window">{escape(part.window)}</p>' if part.window else ""
    count = len(part.panels)
    across = count if count <= MOST_ACROSS else -(-count // 2)
    columns = f"--n:{across};--m:{min(across, MOST_ACROSS_SMALL)}"
    return f'<div class="row {part.kind}" style="{columns}">{figures}</div>{window}'


def _panel(panel: Panel) -> str:
    if panel.text:
        return f'<figure class="text">{escape(panel.text)}</figure>'
    picture = f'<div class="skipped">{escape(panel.problem)}</div>'
    if panel.file is not None:
        width, height = panel.size
        picture = (
            f'<a href="{panel.file}"><img src="{panel.file}" width="{width}" height="{height}" '
            f'alt="{escape(panel.title)}" loading="lazy"></a>'
        )
    parts = [f"<b>{escape(panel.title)}</b>"]
    if panel.recipe:
        parts.append(f"<pre>{escape(panel.recipe)}</pre>")
    if panel.facts:
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in panel.facts)
        parts.append(f"<dl>{rows}</dl>")
    if panel.notes:
        notes = "".join(f"<p>{escape(note)}</p>" for note in panel.notes)
        parts.append(f"<details><summary>What the plan says</summary>{notes}</details>")
    if panel.full_recipe:
        text = escape(panel.full_recipe)
        parts.append(f"<details><summary>Whole recipe as resolved</summary><pre>{text}</pre></details>")
    return f"<figure>{picture}<figcaption>{''.join(parts)}</figcaption></figure>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return an HTML table; the columns `numbers` hold figures. Columns without any text are left out."""
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    head = "".join(f"<th>{escape(header[i])}</th>" for i in used)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="number">{escape(row[i])}</td>' if i in numbers else f"<td>{escape(row[i])}</td>"
            for i in used
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


@dataclass(frozen=True)
class Chapter:
    """A section on the page."""

    title: str
    introduction: str
    articles: tuple[Article, ...]


MARKER = '<meta name="generator" content="tomoservice gallery">'
"""Stands in the page, so that a later gallery knows what it may replace."""


def page(chapters: Sequence[Chapter], facts: Facts, skipped: Sequence[str]) -> str:
    """Return the whole page."""
    links = "".join(f'<a href="#{anchor(c.title)}">{escape(c.title)}</a>' for c in chapters)
    about = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    left_out = ""
    if skipped:
        items = "".join(f"<li>{escape(reason)}</li>" for reason in skipped)
        count = f"{len(skipped)} results are missing"
        left_out = f'<details class="skipped"><summary>{count}</summary><ul>{items}</ul></details>'
    body = "".join(
        f'<section><h2 id="{anchor(c.title)}">{escape(c.title)}</h2><p>{escape(c.introduction)}</p>'
        + "".join(article.html() for article in c.articles)
        + "</section>"
        for c in chapters
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{MARKER}
<title>Tomographic reconstruction, stage by stage</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Tomographic reconstruction, stage by stage</h1>
<p>Each comparison reconstructs the same scan by recipes that differ in one stage. Pictures in a row share
one grey scale, which stands below them: linear attenuation, black to white. Where the specimen is simulated,
its true slice stands beside the reconstructions, and differences are from the truth. A click on a picture
shows it in its full size.</p>
<nav>{links}</nav>
<details><summary>How this page was made</summary><dl>{about}</dl></details>
{left_out}
</header>
<main>{body}</main>
<footer class="soft">PSNR: peak signal-to-noise ratio against the truth within 95 % of the field of view; the
peak is the range of the true values. Times include a search for the rotation axis and depend on the
machine.</footer>
</body>
</html>
"""
