"""Whether a reply declines instead of answering: "I'm sorry, I can't help with that.", "I cannot determine 3D boxes."

A page, a caption or a letter may hold such words too: what stands in quotes, behind a speaker's name, or in the page's
text layer is no refusal, and neither is a reply that goes on to answer. What a model puts around its words (a fence, a
heading, `Answer:`, an object of one text) is none of them. Says nothing about whether something is there: "I cannot
find any car" is an answer (`says_nothing`). Time is bounded: only the beginning of a reply is looked at.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

_LOOKED_AT = 600
"""Characters at the beginning of a reply; who declines does so at once."""
_LONGEST_REST = 500
"""Characters that may follow; beyond it the reply answers something."""

_CANNOT = (
    r"(?:can(?:not|'t|\s+not)|could(?:n't|\s+not)|won't|will\s+not|(?:am|are|'m|'re)?\s*(?:not\s+able|unable|not\s+capable|"
    r"incapable)(?:\s+(?:to|of))?|(?:do\s+not|don't)\s+have\s+(?:the\s+|any\s+)?(?:ability|capability|capacity|means|"
    r"permission|access)(?:\s+to)?)"
)
_I_CANNOT = rf"(?:\bI(?:'m|\s+am)?(?:\s+(?:really|currently|also|just|simply|am|do|regret|be))?\s+{_CANNOT}|^{_CANNOT})"
_ADVERBS = (
    r"(?:\s+(?:see|view|hear|look\s+at)\s+(?:or|and|,))?"
    r"(?:\s+(?:be\s+able\s+to|directly|accurately|reliably|fully|clearly|really|actually|currently|even|to))*"
)
_HELP = (
    r"help(?!\s+but\b)|assist|comply|fulfil+|support|engage|process|access|view|read|transcribe|extract|make\s+out|decipher|"
    r"interpret|analy[sz]e|describe|open|watch|perform|complete|do\s+(?:that|this|so)|discuss|"
    r"(?:identify|recogni[sz]e|name)\s+(?:who|people|persons?|individuals?|real|anyone|someone|faces?|"
    r"(?:the|this|that|these|those)\s+(?:real\s+)?(?:people|persons?|individuals?|man|woman|faces?))"
)
_ANSWER = (
    rf"{_HELP}|provide|answer|respond|determine|estimate|calculate|compute|measure|derive|infer|identify|recogni[sz]e|"
    r"give|produce|generate|create|output|draw|localize|tell|say|judge|continue|perform|proceed|return|reply|"
    r"(?:see|find|detect|locate)\s+(?:an?|the|this|that|your|any|my)?\s*"
    r"(?:images?|pictures?|photos?|videos?|clips?|frames?|files?|screenshots?|attachments?|documents?|pages?|contents?)"
)
_SORRY = r"\b(?:sorry|apologi[sz]e|apologies|afraid|regret|unfortunately|regrettably)\b"
_DE_ACT = (
    r"(?:nicht|kein\w{0,2})\s+(?:\w+\s+){0,5}?(?:helfen|weiterhelfen|unterstützen|ansehen|anschauen|sehen|lesen|entziffern|"
    r"verarbeiten|analysieren|beschreiben|öffnen|zugreifen|bearbeiten|erfüllen|beantworten|erkennen|identifizieren|angeben|"
    r"bestimmen|transkribieren|bereitstellen)\b"
)
_PICTURE = r"(?:images?|pictures?|photos?|videos?|clips?|files?|screenshots?|attachments?|documents?)"

_DECLINES = (
    rf"{_SORRY}[^.!?]{{0,80}}?\bI(?:'m|\s+am)?\s+(?:\w+\s+)?{_CANNOT}{_ADVERBS}\s+(?:{_ANSWER})\b",
    rf"{_I_CANNOT}{_ADVERBS}\s+(?:{_HELP})\b",
    rf"\bas\s+an?\s+(?:AI|artificial|large|language|text)\b[^.!?]{{0,80}}?(?:{_CANNOT}|\bdo\s+not\b|\bdon't\b)",
    r"\bI\s+(?:must|have\s+to|need\s+to)\s+(?:respectfully\s+)?(?:decline|refuse)\b",
    r"\bagainst\s+my\s+(?:guidelines|polic(?:y|ies)|programming|principles)\b",
    (
        rf"\bI\s+(?:do\s+not|don't|cannot|can't)\s+(?:actually\s+)?(?:see|have|find)\s+(?:access\s+to\s+)?(?:an?|any|the|your)\s+"
        rf"(?:attached\s+|uploaded\s+|provided\s+)?{_PICTURE}\b"
    ),
    rf"\bno\s+{_PICTURE}\s+(?:was|were|is|has\s+been|have\s+been)\s+(?:attached|provided|uploaded|included|shared|sent)\b",
    (  # a page may ask for files
        r"(?:^|[,;]\s*|\byou\s+)please\s+(?:provide|upload|share|attach|send|resend)\s+(?:me\s+)?(?:the|an?|another|one|it)\b[^.!?]{0,30}?"
        r"(?:\b(?:image|picture|photo|video|clip|screenshot)s?\b|[.!?]|$)"
    ),
    (
        r"^(?:(?:the|this|all|its)\s+)?(?:images?|texts?|pictures?|photos?|pages?|scans?|handwriting|writing)\b[^.!?]{0,40}?"
        r"\b(?:is|are|appears?|seems?)\b[^.!?]{0,20}?(?:\btoo\s[^.!?]{1,40}?\b(?:to\s+(?:be\s+)?(?:read|recogni|make|transcribe"
        r"|identify|determine|detect|see)|for\s+me)|\billegible|\bunreadable|\bnot\s+(?:legible|readable))"
    ),
    (
        r"\b(?:tut\s+mir\s+(?:\w+\s+)?leid|leider|entschuldigung|verzeihung|bedauerlicherweise)\b[^.!?]{0,60}?"
        rf"\b(?:kann\s+ich|ich\s+kann)\b[^.!?]{{0,60}}?\b{_DE_ACT}"
    ),
    rf"^ich\s+kann\b[^.!?]{{0,60}}?\b{_DE_ACT}",
    r"\bals\s+(?:KI|Sprachmodell)\b[^.!?]{0,80}?\b(?:nicht|kein\w{0,2})\b",
    r"(?:抱歉|对不起|很遗憾|不好意思|作为)[^。!?]{0,40}(?:无法|不能|没法|没有办法|不支持|做不到|帮不了)",
    r"^我?(?:现在|目前)?(?:无法|不能|没法)(?:直接)?(?:帮助|协助|处理|查看|读取|访问|打开|满足|完成|回答|读出|辨认|分析)",
    r"(?:请|您)(?:重新)?(?:提供|上传)[^。!?]{0,12}(?:图|照片|视频|文件)",
)
"""Whatever was asked for."""
_CANNOT_SAY = (
    rf"{_I_CANNOT}{_ADVERBS}\s+(?:{_ANSWER})\b",
    rf"\b(?:we|one)\s+{_CANNOT}{_ADVERBS}\s+(?:{_ANSWER})\b",
    (
        r"\b(?:cannot|can't|can\s+not|could\s+not|couldn't)\s+be\s+(?:\w+ly\s+)?(?:determined|provided|estimated|computed|calculated|"
        r"identified|read|inferred|derived|given|produced|established|measured|answered|recovered|obtained|extracted)\b"
    ),
    r"\b(?:it\s+is|it's|is|are)\s+(?:not\s+possible|impossible|infeasible)\b",
    r"\bI(?:\s+would|\s+will|'d|'ll)\s+(?:also\s+)?(?:need|require)\b",
    (
        r"\b(?:camera|calibration|intrinsics?|depth)\b[^.!?]{0,60}\b(?:is|are|was|were)\s+(?:not|n't)\s+"
        r"(?:available|provided|known|given)\b"
    ),
    r"\b(?:insufficient|not\s+enough)\s+(?:\w+\s+)?(?:information|context|detail|data|resolution)\b",
    r"\btoo\s+(?:blurry|dark|small|low|noisy|unclear|far|blurred|bright|pixelated|grainy)\b",
    r"(?:无法|不能|没法|难以)(?:准确|直接|可靠)?地?(?:提供|确定|识别|读取|判断|查看|处理|回答|给出|计算|估计|估算|分析|生成|推断|得出|定位|进行|完成|输出)",
)
"""Where a list or a time was asked for; to a question it may be the answer."""
_DECLINED = re.compile("|".join(_DECLINES), re.IGNORECASE)
_CANNOT_TELL = re.compile("|".join((*_DECLINES, *_CANNOT_SAY)), re.IGNORECASE)

_GOES_ON = re.compile(
    r"\b(?:but|however|nevertheless|nonetheless|instead|still|that\s+said)\b,?\s+(?!I\s+(?:can(?:not|'t|\s+not)|won't|will\s+not|am|'m|do\s+not|don't|"
    r"would|could|must)|if\b|I'm|unable|cannot|can't|it\b)|\bhere\s+(?:is|are)\b|\bbased\s+on\b|\bI\s+can\s+(?:see|read|tell|"
    r"make|describe|provide)|\b(?:said|says|replied|answered|told)\b|\bappears\s+to\b|[\[{(]\s*[\"'\[{\d]|<\w|但(?:是)?(?!我?(?:无法|不能))",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"^\s*(?:[\"'“”„«‹「『《`<>\[{]|[-–—]\s|[A-Z][\w .]{0,30}:\s)")
_FENCE = re.compile(r"\s*(?:```|~~~)[\w+-]{0,20}[^\S\n]*\n?(.*?)(?:\n?[^\S\n]*(?:```|~~~)\s*)?", re.DOTALL)
_LABEL = re.compile(
    r"[\s#>]*(?:<(answer|final_answer|response|output)>|(?:(?:final|short|my)\s+)?(?:answer|response|reply|result|output|"
    r"assistant|transcription|transcript|caption|description|antwort|回答|答案)\s*[:：])\s*",
    re.IGNORECASE,
)
_MOST_WRAPPERS = 6
_ADDRESSES = re.compile(
    r"\b(?:I|I'm|I've|me|my|you|your|sorry|apolog\w+|thanks?|hello|hi|sure|ok|okay|oh|unfortunately|note|ich|mir|mich|sie|du|"
    r"leider|danke|entschuldigung|hallo)\b|[我你您]|抱歉|谢谢",
    re.IGNORECASE,
)
"""A sentence before the one that declines: in it somebody speaks to somebody."""
_WITHIN_QUOTES = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»|「[^」]*」|『[^』]*』")
_SENTENCE = re.compile(r"[^.!?。!?\n]*[.!?。!?\n]*")
_MARKS = re.compile(r"[*_#]+")


def declines(reply: str, text_layer: str | None = None) -> bool:
    """Whether a reply as a whole declines, whatever was asked for. text_layer: what the page says itself."""
    return _says(_DECLINED, reply, text_layer)


def cannot_say(reply: str) -> bool:
    """Whether it declines, or says that what was asked for cannot be determined."""
    return _says(_CANNOT_TELL, reply, None)


def _says(pattern: re.Pattern[str], reply: str, text_layer: str | None) -> bool:
    reply = _bare(reply)
    beginning = _MARKS.sub("", unicodedata.normalize("NFKC", reply[:_LOOKED_AT]).replace("’", "'")).strip()
    if _QUOTED.match(beginning):
        return False
    beginning = _WITHIN_QUOTES.sub('""', beginning)
    at = 0
    for _ in range(2):
        sentence = _SENTENCE.match(beginning, at)
        if sentence is None or not sentence[0]:
            return False
        at = sentence.end()
        line = " ".join(sentence[0].split())
        match = pattern.search(line)
        if match is None:
            if _ADDRESSES.search(line) is None:
                return False  # it tells something, and goes on to tell who declined
            continue
        if line[: match.start()].rstrip().endswith((":", "：")):
            return False
        rest = beginning[at:]
        if len(reply) - at > _LONGEST_REST or _GOES_ON.search(sentence[0].partition(",")[2]) or _GOES_ON.search(rest):
            return False
        return not (text_layer and _letters(sentence[0]) in _letters(text_layer))
    return False


def _bare(reply: str) -> str:
    """A short reply without what stands around its words: a fence, a label, an object or list of one text."""
    if len(reply) > _LOOKED_AT + _LONGEST_REST:
        return reply
    for _ in range(_MOST_WRAPPERS):
        text = _MARKS.sub("", reply).strip()
        if (label := _LABEL.match(text)) is not None:
            text = text[label.end() :].removesuffix(f"</{label[1]}>").strip()
        if (fence := _FENCE.fullmatch(text)) is not None:
            text = fence[1].strip()
        if text[:1] in ("{", "["):
            text = _only_text(text)
        if text == reply:
            break
        reply = text
    return reply


def _only_text(text: str) -> str:
    """The one text that JSON says; the JSON itself where it says more."""
    try:
        value: Any = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
    texts: list[str] = []
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, str) and (" " in item.strip() or not item.isascii()):
            texts.append(item)
        elif isinstance(item, (dict, list)) and item:
            return text
    return texts[0] if len(texts) == 1 else text


def _letters(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalnum())
