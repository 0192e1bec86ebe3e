"""Cut a text into chapters before anybody knows what its bytes mean."""

MOST_PIECES = 12
SHORTEST_PIECE = 1_500


def pieces(data: bytes) -> list[bytes]:
    """At most MOST_PIECES pieces of about the same size that together are the whole.

    Cuts are made at the first empty line after the size is reached (of any of the usual line ends), so a text without
    empty lines stays in one piece.
    """
    size = max(SHORTEST_PIECE, -(-len(data) // MOST_PIECES))
    found: list[bytes] = []
    piece = b""
    for line in data.splitlines(keepends=True):
        piece += line
        if len(piece) >= size and not line.strip():
            found.append(piece)
            piece = b""
    return [*found, piece] if piece.strip() or not found else [*found[:-1], found[-1] + piece]
