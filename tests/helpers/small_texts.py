"""Sentences and word lists of three languages, enough to tell them apart in a test."""

__all__ = ["SENTENCES", "WORDS"]

SENTENCES = {
    "de": [
        "Das Haus steht am Ende der Straße", "die Katze schläft auf dem warmen Ofen", "wir gehen heute nicht ins Kino",
        "der Zug fährt um acht Uhr ab", "ich möchte ein Glas Wasser", "über den Wolken ist der Himmel blau",
    ],
    "en": [
        "the house stands at the end of the street", "the cat sleeps on the warm stove", "it's not what we wanted",
        "the train leaves at eight o'clock", "I would like a glass of water", "above the clouds the sky is blue",
    ],
    "fr": [
        "la maison est au bout de la rue", "le chat dort sur le poêle chaud", "nous n'allons pas au cinéma ce soir",
        "le train part à huit heures", "je voudrais un verre d'eau", "au-dessus des nuages le ciel est bleu",
    ],
}  # fmt: skip
WORDS = {
    "de": {"Haus": 30, "Katze": 20, "und": 900, "Straße": 5},
    "en": {"house": 40, "cat": 20, "and": 1000, "don't": 50},
    "fr": {"maison": 30, "chat": 20, "et": 800, "l'été": 3},
}
