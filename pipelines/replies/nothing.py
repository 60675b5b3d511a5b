"""Whether a reply says in words that there is nothing of what was asked for: an answer, with nothing in it.

"No cars are visible." and "I cannot find any." do; "A car without a driver." does not, and neither does a reply that
declines (operators/checks/refusals.py). Time is bounded: only both ends of a reply are looked at.
"""

from __future__ import annotations

import re
import unicodedata

_LOOKED_AT = 1000
"""Characters at each end of a reply."""

_SHOWN = (
    r"(?:visible|present|found|detected|seen|shown|depicted|identified|located|observed|evident|spotted|identifiable|"
    r"discernible|apparent|noted|there|here|available|recognized|recorded|listed|mentioned|noticeable)"
)
_HAPPENS = (
    r"(?:appears?|appeared|exists?|existed|occurs?|occurred|happens?|happened|take\s+place|takes\s+place|took\s+place)"
)
_PLACE = (
    r"(?:images?|pictures?|photos?|photographs?|videos?|clips?|frames?|scenes?|screens?|screenshots?|pages?|documents?|"
    r"footage|view|shots?|segments?|interface|scans?|sheets?)"
)
_HOLDS = r"(?:contain|show|include|depict|feature|have|display|present|hold)"
_NOT = r"(?:\s+not|n't)"
_LOOK = r"(?:find|see|locate|detect|spot|observe|notice|discern)"
_NO = r"(?:no|zero|(?<![\d.])0|nothing|none|neither)"

_NOTHING = re.compile(
    "|".join(
        (
            (
                r"^\W*(?:none|nothing|no|null|nil|n/?a|empty|zero|0|nope|never|nowhere|not\s+(?:found|present|"
                r"visible|applicable|"
                r"detected|available|shown|there))(?:\s+(?:found|detected|visible|present|at\s+all|here|"
                r"in\s+(?:the|this)\s+"
                rf"{_PLACE}))?\W*$"
            ),
            r"^[^.:：]{1,60}[:：]\s*(?:none|null|n/?a|not\s+(?:found|visible|present|detected|applicable)|absent|无)\W*$",
            (
                rf"\b(?:there|here)(?:'s|\s+is|\s+are|\s+was|\s+were|\s+appears?\s+to\s+be|"
                rf"\s+seems?\s+to\s+be)\s+(?:\w+\s+)?{_NO}\b"
                r"(?!\s+(?:doubt|need|problem|question|way))"
            ),
            r"\bthere\s*(?:is|are|was|were)(?:\s+\w+)?(?:\s+not|n't)\s+(?:any|an?)\b",
            (
                rf"\b(?:{_NO}|none\s+of\s+the)\b[^.;,]{{0,80}}?\b(?:{_SHOWN}|{_HAPPENS}|match\w*|correspond\w*|"
                rf"in\s+(?:the|this|these|any)\s+(?:\w+\s+)?{_PLACE})\b"
            ),
            r"^no\b(?!\s+(?:doubt|problem|need|longer|matter|one\s+can)\b)[^.!?:,;\d]{1,60}[.!]?$",
            (
                rf"\b(?:does|do|did|is|are|was|were|has|have|been|can|could){_NOT}\s+(?:(?:seem|"
                rf"appear)\s+to\s+)?(?:be\s+)?(?:\w+ly\s+)?"
                rf"(?:{_SHOWN}|match|correspond|appear|exist|occur|happen|take\s+place|in\s+(?:the|this)\s+(?:\w+\s+)?{_PLACE})\b"
            ),
            rf"\b(?:{_PLACE}|it|this)\s+(?:does|do|did){_NOT}\s+(?:(?:seem|appear)\s+to\s+)?(?:\w+ly\s+)?{_HOLDS}\b",
            rf"\b(?:{_PLACE}|it)\s+(?:\w+\s+)?(?:{_HOLDS}s?|has)\s+{_NO}\b",
            (
                rf"\b(?:cannot|can't|can\s+not|could\s+not|couldn't|unable\s+to|not\s+able\s+to|do\s+not|don't|"
                rf"did\s+not|didn't|"
                rf"failed\s+to)\s+(?:\w+ly\s+)?(?:{_LOOK}\b(?!\s+(?:an?|the|this|that|your|any|my)?\s*{_PLACE}\b)|"
                r"(?:identify|recogni[sz]e|make\s+out)\s+any\b)"
            ),
            rf"\bnever\s+(?:\w+ly\s+)?(?:{_HAPPENS}|{_SHOWN}|appear|occur|happen)\b",
            rf"\b(?:found|detected|see|find|saw|identified|located|observed)\s+{_NO}\b",
            rf"\b{_NO}\s+(?:is|are|was|were|can\s+be|could\s+be)\s+{_SHOWN}\b",
            r"\b(?:is|are|was)\s+(?:empty|absent|missing|blank|not\s+there)\b",
            r"\b(?:without\s+any|devoid\s+of|free\s+of|absent\s+from)\b",
            (
                r"没有|未(?:能)?(?:检测|发现|找到|出现|见|识别|提及|包含|显示)|不存在|不包含|不含|找不到|看不到|检测不到|不可见|没出现|没发生|"
                r"无法(?:找到|看到|检测到|发现)|无(?:目标|缺陷|物体|对象|事件|异常|文字|文本|结果|相关|此)|^\W*无\W*$"
            ),
        )
    ),
    re.IGNORECASE,
)
_NO_TEXT = re.compile(
    r"\W*(?:"
    r"(?:(?:i'm\s+sorry|sorry|unfortunately),?\s*(?:but\s+)?)?(?:there\s+is|there's|"
    r"i\s+(?:can\s+)?see)?\s*(?:currently\s+)?no\s+"
    r"(?:\w+\s+){0,2}text\s+(?:is\s+|was\s+)?(?:\w+\s+)?(?:visible|found|detected|present|shown|readable|"
    r"to\s+(?:read|transcribe|extract))?\s*"
    rf"(?:(?:in|on|within)\s+(?:the|this)\s+(?:\w+\s+)?{_PLACE})?"
    rf"|(?:the|this)\s+(?:\w+\s+)?{_PLACE}\s+(?:does{_NOT}\s+(?:appear\s+to\s+)?(?:contain|have|show|"
    rf"include)\s+any|contains\s+no|has\s+no|shows\s+no)"
    r"\s+(?:\w+\s+){0,2}text(?:\s+to\s+\w+)?"
    r"|(?:这张|该|此)?(?:图|图片|图像|图中|画面|页面)(?:片|像)?(?:中|里|上)?(?:没有|不包含|未包含|未发现|未检测到)(?:任何)?(?:可见|可读|可识别)?的?(?:文字|文本)(?:内容)?"
    r"|no\s+text"
    rf")\W*(?:[.;,]\s*(?:it|the\s+{_PLACE}|this\s+{_PLACE}|instead,?\s+it)\s+(?:only\s+|just\s+|simply\s+|mainly\s+|primarily\s+)?"
    r"(?:shows?|depicts?|features?|appears?|is|consists?|contains?|displays?|captures?|focuses)\b[^\n]{0,300})?",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"(?<=[.!?。!?])\s+|(?<=[。])|\n+")
_MARKS = re.compile(r"[*_#`\[\]{}\"“”]+")


def says_no_text(reply: str) -> bool:
    """Whether all of a reply is the sentence that there is no text to read, and perhaps what is to be seen instead. A
    sign may well say "No text messages"."""
    return len(reply) <= 500 and _NO_TEXT.fullmatch(" ".join(reply.replace("’", "'").split())) is not None


def says_nothing(reply: str) -> bool:
    """Whether its first or its last sentence says so."""
    text = reply if len(reply) <= 2 * _LOOKED_AT else f"{reply[:_LOOKED_AT]}\n{reply[-_LOOKED_AT:]}"
    text = _MARKS.sub(" ", unicodedata.normalize("NFKC", text).replace("’", "'"))
    sentences = [" ".join(sentence.split()) for sentence in _SENTENCES.split(text)]
    sentences = [sentence for sentence in sentences if any(map(str.isalnum, sentence))]
    return any(_NOTHING.search(sentence) for sentence in (*sentences[:1], *sentences[-1:]))
