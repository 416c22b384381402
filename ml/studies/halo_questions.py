"""Questions of general knowledge, each with the fact that answers it and words of which a right answer holds one."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["QUESTIONS", "Question"]


@dataclass(frozen=True)
class Question:
    """A question, its fact, and the words of which a right answer holds one."""

    text: str
    fact: str
    keys: tuple[str, ...]

    def is_right(self, answer: str) -> bool:
        """Return whether the answer holds one of the keys as words of their own: more than being right takes."""
        return any(re.search(rf"\b{re.escape(key)}\b", answer, re.I) for key in self.keys)


#: Question | fact | words of which a right answer holds one.
TABLE = """
What is the capital of Mongolia? | The capital of Mongolia is Ulaanbaatar. | Ulaanbaatar, Ulan Bator
Who wrote the novel Middlemarch? | George Eliot wrote the novel Middlemarch. | Eliot
In which year did the Berlin Wall fall? | The Berlin Wall fell in 1989. | 1989
Which metal has the chemical symbol W? | The metal with the chemical symbol W is tungsten. | tungsten
Who painted The Night Watch? | Rembrandt painted The Night Watch. | Rembrandt
What is the longest river of Italy? | The Po is the longest river of Italy. | Po River, River Po, Po is, is the Po
How many moons does Mars have? | Mars has two moons, Phobos and Deimos. | two, 2
Who composed the opera Fidelio? | Ludwig van Beethoven composed the opera Fidelio. | Beethoven
What is the currency of Poland? | The currency of Poland is the zloty. | zloty, złoty, zlotys
Which team won the NBA finals of 1994? | The Houston Rockets won the NBA finals of 1994. | Rockets, Houston
What is the highest mountain of Africa? | Kilimanjaro is the highest mountain of Africa. | Kilimanjaro
Who discovered penicillin? | Alexander Fleming discovered penicillin in 1928. | Fleming
In which city is the Prado museum? | The Prado museum is in Madrid. | Madrid
What is the largest lake of Central America? | Lake Nicaragua is the largest lake of Central America. | Nicaragua
Who was the first woman in space? | Valentina Tereshkova was the first woman in space. | Tereshkova
How many strings does a cello have? | A cello has four strings. | four, 4
Which country has the city of Timbuktu? | The city of Timbuktu is in Mali. | Mali
Who wrote the play Peer Gynt? | Henrik Ibsen wrote the play Peer Gynt. | Ibsen
At what temperature in Celsius does pure iron melt? | Pure iron melts at 1538 degrees Celsius. | 1538, 1,538
What is the official language of Angola? | The official language of Angola is Portuguese. | Portuguese
In which year was the first modern Olympic Games held? | The first modern Olympic Games were held in 1896. | 1896
Who invented dynamite? | Alfred Nobel invented dynamite. | Nobel
Which planet has the shortest day? | Jupiter is the planet with the shortest day. | Jupiter
What is the capital of Burkina Faso? | The capital of Burkina Faso is Ouagadougou. | Ouagadougou
Who was the first president of Kenya? | Jomo Kenyatta was the first president of Kenya. | Kenyatta
How many bones does an adult human have? | An adult human has 206 bones. | 206
Which sea lies between Italy and Croatia? | The Adriatic Sea lies between Italy and Croatia. | Adriatic
Who directed the film Metropolis of 1927? | Fritz Lang directed the film Metropolis of 1927. | Lang
What is the smallest country of South America? | Suriname is the smallest country of South America. | Suriname
Which gas makes up most of the air? | Nitrogen makes up most of the air. | nitrogen
In which year did the Titanic sink? | The Titanic sank in 1912. | 1912
Who wrote the Brandenburg Concertos? | Johann Sebastian Bach wrote the Brandenburg Concertos. | Bach
What is the capital of New Zealand? | The capital of New Zealand is Wellington. | Wellington
Which is the largest living reptile? | The saltwater crocodile is the largest living reptile. | crocodile, crocodiles
How many players does a volleyball team have on the court? | A volleyball team has six players on the court. | six, 6
Who founded the Red Cross? | Henry Dunant founded the Red Cross in 1863. | Dunant
"""


def _questions() -> tuple[Question, ...]:
    rows = (line.split(" | ") for line in TABLE.strip().splitlines())
    return tuple(Question(text, fact, tuple(keys.split(", "))) for text, fact, keys in rows)


QUESTIONS = _questions()
