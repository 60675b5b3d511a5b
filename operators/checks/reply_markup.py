"""What a reply writes around the words of a page: HTML, Markdown and LaTeX, none of which the page shows. Pure.

Each of the three is left alone where the page itself shows such marks: a page about HTML is to be read with its tags.
All patterns are linear in the text: none looks beyond the next mark of its own kind.
"""

from __future__ import annotations

import html
import re

FORMULA, FORMULA_END = "\ue000", "\ue001"
"""Stand around a formula in what `without_markup` gives."""

_INLINE = "a|b|i|u|s|em|strong|sub|sup|span|small|del|ins|mark|font|code|big|tt|center"
_BLOCK = (
    "html|head|body|main|header|footer|nav|aside|section|article|address|figure|figcaption|h[1-6]|p|div|table|thead|tbody"
    "|tfoot|tr|td|th|caption|colgroup|col|ol|ul|li|dl|dt|dd|img|pre|blockquote|br|hr|page_number|doc"
)
_COMMENT = re.compile(r"<!--[^<>]*-->|<!DOCTYPE[^<>]*>", re.IGNORECASE)
_TAG = re.compile(rf"</?(?:(?P<inline>{_INLINE})|{_BLOCK})(?:[\s/][^<>]*)?>", re.IGNORECASE)
_SHOWS_HTML = re.compile(rf"</(?:{_INLINE}|{_BLOCK})>", re.IGNORECASE)
_FENCE = re.compile(r"^[^\S\n]*(?:```|~~~)[^\n]*$", re.MULTILINE)
_IMAGE = re.compile(r"!\[[^\[\]\n]*\](?:\([^()\n]*\))?")
_LINK = re.compile(r"\[([^\[\]\n]*)\]\((?:https?:|mailto:|#|/)[^()\n]*\)")
_DELIMITER = re.compile(r"\$\$?|\\[\[\]()\\$]")
_CLOSING = {"$$": "$$", "$": "$", "\\[": "\\]", "\\(": "\\)"}
_LONGEST_INLINE = 400
_IS_FORMULA = re.compile(r"[\\^_={}]|^\s*[A-Za-z]\s*$")
_LAYOUT = re.compile(
    r"\\(?:begin|end)\{[A-Za-z]{1,20}\*?\}(?:\[[^\[\]\n]{0,20}\])?(?:\{[^{}\n]{0,80}\})?"
    r"|\\(?:multicolumn|multirow)\{[^{}\n]{0,10}\}\{[^{}\n]{0,40}\}|\\c(?:line|midrule)(?:\([a-z]{0,4}\))?\{[^{}\n]{0,10}\}"
    r"|\\(?:hspace|vspace|label|ref|includegraphics)\*?(?:\[[^\[\]\n]{0,80}\])?\{[^{}\n]{0,80}\}|\\\\\[[^\[\]\n]{0,10}\]"
)
_COMMAND = re.compile(r"\\([A-Za-z]{1,40})\*?")
_GREEK = (
    *(
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
    ),
    *("pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi"),
    *("Pi", "Sigma", "Phi", "Psi", "Omega", "varepsilon", "varphi", "ell", "hbar"),
)
_SYMBOLS = dict(zip(_GREEK, "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩεφlħ", strict=True))
_NAMES = frozenset(
    [
        *(
            "sin",
            "cos",
            "tan",
            "cot",
            "sec",
            "exp",
            "log",
            "ln",
            "lim",
            "max",
            "min",
            "sup",
            "inf",
            "det",
            "dim",
            "arg",
        ),
        *("gcd", "mod", "Pr"),
    ]
)
"""Commands that show themselves."""


def without_markup(read: str, layer: str) -> str:
    """read: a reply; layer: what the page says."""
    if "<" in read and not _SHOWS_HTML.search(layer):
        read = _COMMENT.sub(" ", read)
        read = _TAG.sub(lambda tag: "" if tag["inline"] else "\n" if _ends_line(tag[0]) else " ", read)
    if "&" in read:
        read = unescaped(read)
    read = _LINK.sub(r"\1", _IMAGE.sub(" ", _FENCE.sub("", read)))
    if "\\" in layer:
        return read
    read = _with_formulas_marked(read)
    read = _LAYOUT.sub(" ", read)
    return _COMMAND.sub(lambda name: f" {name[1]}" if name[1] in _NAMES else _SYMBOLS.get(name[1], " "), read)


def unescaped(text: str) -> str:
    """With characters for their HTML names and numbers; as it is where a number has thousands of digits."""
    try:
        return html.unescape(text)
    except ValueError:
        return text


def _ends_line(tag: str) -> bool:
    return re.match(r"</?(?:td|th|img|col)\b", tag, re.IGNORECASE) is None


def _with_formulas_marked(text: str) -> str:
    """Between dollars only what looks like a formula: there may be amounts of dollars."""
    parts: list[str] = []
    begin = place = 0
    opening = ""
    for match in _DELIMITER.finditer(text):
        if opening and match[0] == _CLOSING[opening]:
            content = text[begin + len(opening) : match.start()]
            inline = opening == "$" and ("\n" in content or len(content) > _LONGEST_INLINE)
            if content and not inline and (opening != "$" or _IS_FORMULA.search(content)):
                parts += (text[place:begin], " ", FORMULA, content, FORMULA_END, " ")
                place, opening = match.end(), ""
            else:  # what closes nothing may open
                begin = match.start()
        elif match[0] in _CLOSING:
            begin, opening = match.start(), match[0]
    return "".join([*parts, text[place:]])
