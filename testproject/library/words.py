"""Words and lines: pure functions on text."""

import re
from collections import Counter
from collections.abc import Iterable

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")

LONGEST_WORD = 100  # what is longer is no word, whoever brought the text

# Too common to say anything about a book, in the two languages of the library.
STOP_WORDS = frozenset(
    """
    a about after again all almost already always am an and any are as at back be been before but by can come
    could did do down even ever every for from get go going had has have having he her here him himself his how i
    i'm if in into is it it's its like made many may me more most mr mrs much must my never no nor not now of oh
    on once one only or other our out over own put quite said same say says see shall she should so some still
    such take than that the their them then there these they thing this those though through to too two under up
    upon us very was way we well went were what when where which while who whom will with within without would yet
    you your

    au aux avait avoir bien c'est ce ces cette comme d'un d'une dans de des du elle en encore et était être fait
    il ils j'avais j'étais je l' la le les leur lui ma mais me même mes moi mon n'avait n'était ne nous on ou par
    pas plus pour pouvait qu'elle qu'il que qui s'il sa sans se ses si son sur tout un une y à
    """.split()
)


def concordance(text: str) -> dict[str, list[int]]:
    """The lines (from 1) of every word of at most LONGEST_WORD characters, once per occurrence."""
    lines_of: dict[str, list[int]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for word in WORD.findall(line.lower()):
            if len(word) <= LONGEST_WORD:
                lines_of.setdefault(word, []).append(number)
    return lines_of


def top_words(counts: Iterable[tuple[str, int]], how_many: int) -> list[tuple[str, int]]:
    """The most frequent words that are not stop words, in an order that does not depend on chance."""
    totals: Counter[str] = Counter()
    for word, count in counts:
        if word not in STOP_WORDS:
            totals[word] += count
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:how_many]


def marked(line: str, word: str) -> list[tuple[str, bool]]:
    """The line in pieces: a piece is either the word itself (True) or what stands around it."""
    pieces = []
    position = 0
    for match in WORD.finditer(line):
        if match.group().lower() == word:
            pieces += [(line[position : match.start()], False), (match.group(), True)]
            position = match.end()
    return [*pieces, (line[position:], False)]
