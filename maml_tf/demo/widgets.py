"""What the tabs are made of: text, buttons, plots and rows that wrap on a narrow screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bokeh.events import DoubleTap, Press, Tap
from bokeh.layouts import column, row
from bokeh.models import Button, Column, Div, LayoutDOM, Range1d, Row
from bokeh.plotting import figure

INK, PAPER, LINE, MUTED = "#1f2933", "#ffffff", "#d5dce3", "#66737f"


def named(name: str | None) -> dict[str, Any]:
    """Returns the arguments of a model by which Python and the browser find it: `name`, and a class of CSS."""
    return {} if name is None else {"name": name, "css_classes": [name]}


def text(html: str, name: str | None = None, **options: Any) -> Div:
    """Makes a paragraph of HTML."""
    options = {"sizing_mode": "stretch_width", "margin": (0, 8, 8, 8), **named(name), **options}
    return Div(text=html, stylesheets=[_TEXT], **options)


def button(
    label: str, on_click: Callable[[], None], *, primary: bool = False, small: bool = False, name: str | None = None
) -> Button:
    """Makes a button that calls a function without arguments."""
    made = Button(
        label=label,
        button_type="success" if primary else "default",
        margin=(0, 4, 4, 0) if small else (4, 4, 8, 8),
        stylesheets=[_SMALL if small else BUTTON],
        **named(name),
    )
    made.on_click(on_click)
    return made


def wrapping(*children: LayoutDOM, **options: Any) -> Row:
    """Puts children side by side, and on further lines where the page is too narrow."""
    return row(*children, stylesheets=[":host { flex-wrap: wrap; }"], sizing_mode="stretch_width", **options)


def stacked(*children: LayoutDOM, least: int = 300, **options: Any) -> Column:
    """Puts children under each other, as one part of a `wrapping` row that is at least so many pixels wide."""
    styles = {"flex": f"1 1 {least}px", "min-width": f"min({least}px, 100%)", **options.pop("styles", {})}
    return column(*children, styles=styles, **options)


def plot(x: tuple[float, float], y: tuple[float, float], name: str | None = None, **options: Any) -> figure:
    """Makes an empty plot of fixed ranges, without tools."""
    made = figure(x_range=Range1d(*x), y_range=Range1d(*y), tools="", toolbar_location=None, **named(name), **options)
    made.outline_line_color = LINE
    made.grid.grid_line_color = LINE
    made.grid.grid_line_alpha = 0.6
    made.axis.axis_line_color = made.axis.major_tick_line_color = LINE
    made.axis.minor_tick_line_color = None
    made.axis.major_label_text_color = MUTED
    made.title.text_font_size, made.title.text_color = "15px", INK
    return made


def legend_outside(made: figure, place: str) -> None:
    """Puts a plot's legend "above" or "below" it, where it hides nothing."""
    made.add_layout(made.legend[0], place)
    made.legend.orientation, made.legend.location, made.legend.border_line_color = "horizontal", "center", None


def on_tap(plot: figure, put: Callable[[float, float], None]) -> None:
    """Calls a function with the place of every tap: also of a second within 0.3 s, and of one that lasts longer."""
    for event in (Tap, DoubleTap, Press):  # Bokeh tells of each tap as one of these.
        plot.on_event(event, lambda tap: put(tap.x, tap.y) if None not in (tap.x, tap.y) else None)


_FONT = "font-family: Helvetica, Arial, sans-serif;"
_TEXT = f"""
:host {{ {_FONT} font-size: 15px; line-height: 1.45; color: {INK}; }}
h3 {{ margin: 4px 0 0; font-size: 17px; }}
p {{ margin: 0; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: 2px 14px 2px 0; text-align: right; font-variant-numeric: tabular-nums; font-weight: normal; }}
th {{ color: {MUTED}; }}
th:first-child, td:first-child {{ text-align: left; }}
.muted {{ color: {MUTED}; }}
"""
BUTTON = f".bk-btn {{ {_FONT} font-size: 15px; padding: 7px 14px; border-radius: 6px; }}"
_SMALL = f".bk-btn {{ {_FONT} font-size: 12px; padding: 2px 8px; border: none; color: {MUTED}; }}"
