"""Messages in another language than English: by the words that PostgreSQL's translations put in front of them."""

import re
from collections import Counter

#: By language, words for ERROR, STATEMENT, and where it is translated LOG; `LOG` is the same in most languages.
_WORDS = {
    "Chinese": ("错误", "日志", "语句", "錯誤", "日誌"),
    "Czech": ("CHYBA", "PŘÍKAZ"),
    "French": ("ERREUR", "INSTRUCTION"),
    "German": ("FEHLER", "ANWEISUNG"),
    "Italian": ("ERRORE", "ISTRUZIONE"),
    "Japanese": ("エラー", "ログ", "詳細", "ヒント", "文", "ステートメント", "文脈", "コンテキスト"),
    "Korean": ("오류", "로그"),
    "Polish": ("BŁĄD", "DZIENNIK", "WYRAŻENIE"),
    "Portuguese": ("ERRO", "COMANDO"),
    "Russian": ("ОШИБКА", "СООБЩЕНИЕ", "ОПЕРАТОР"),
    "Spanish": ("SENTENCIA",),
    "Swedish": ("FEL", "LOGG", "SATS"),
    "Turkish": ("HATA",),
    "Ukrainian": ("ПОМИЛКА",),
}
_LANGUAGES = {word.encode(): language for language, words in _WORDS.items() for word in words}

#: In front of a message, in a column of csvlog, or in a value of jsonlog.
_FOREIGN = re.compile(
    rb"(?:^|[^\w\x80-\xff])(" + b"|".join(map(re.escape, _LANGUAGES)) + rb')(?: ?:  |,|")', re.MULTILINE
)
_ENGLISH = re.compile(rb'(?:ERROR|STATEMENT|HINT|WARNING)(?::  |,[0-9A-Z]{5},|")')
#: Severities are not translated into Japanese; what follows them is.
_ENGLISH_FOLLOWING = re.compile(rb'(?:STATEMENT|HINT|DETAIL|CONTEXT)(?::  |")')

#: Words from which on it is certain.
_CERTAIN = 2


def find_language(block: bytes) -> str | None:
    """The language of a log's messages, where it is not English; None where it is, or where nothing shows it."""
    if not any(word in block for word in _LANGUAGES):
        return None
    found = Counter(_LANGUAGES[each[1]] for each in _FOREIGN.finditer(block))
    if sum(found.values()) < _CERTAIN:
        return None
    language = found.most_common(1)[0][0]
    english = _ENGLISH_FOLLOWING if language == "Japanese" else _ENGLISH
    return None if english.search(block) else language
