"""Bar charts as SVG: one file for light pages, one for dark ones."""

from collections.abc import Sequence
from html import escape

_COLOURS = {
    "light": {"text": "#1f2328", "soft": "#59636e", "ours": "#0b6bcb", "other": "#8c959f"},
    "dark": {"text": "#e6edf3", "soft": "#9198a1", "ours": "#58a6ff", "other": "#6e7681"},
}
_ROW, _LEFT, _WIDTH, _TOP = 24, 250, 760, 44


def chart(title: str, bars: Sequence[tuple[str, float, bool]], scheme: str) -> str:
    """Return the SVG of bars: label, length, and whether it is ours; *scheme* is ``light`` or ``dark``."""
    colours, most = _COLOURS[scheme], max((value for _, value, _ in bars), default=1.0) or 1.0
    height = _TOP + _ROW * len(bars) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" font-family="sans-serif"'
        f' font-size="13"><title>{escape(title)}</title>',
        f'<text x="0" y="20" font-size="15" font-weight="600" fill="{colours["text"]}">{escape(title)}</text>',
    ]
    for number, (label, value, ours) in enumerate(bars):
        fill = colours["ours" if ours else "other"]
        y, width = _TOP + number * _ROW, max(1.0, value / most * (_WIDTH - _LEFT - 80))
        lines += [
            f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end" fill="{colours["text"]}">{escape(label)}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="17" rx="2" fill="{fill}"/>',
            f'<text x="{_LEFT + width + 6:.1f}" y="{y + 13}" fill="{colours["soft"]}">{value:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
