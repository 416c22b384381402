# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Language tools: which language a word is in, and what answers are worth that nobody can check
#
# **Questions.** Which language is a single word in, while a writer changes the language within a sentence? And: a
# language model answers, there is no source of truth at hand; what can still be measured? Whether it says the same each
# time. HaloCheck asks a scorer of sentence pairs which answers entail and which contradict each other. And: does a
# model answer by the group that a question is about, or only by the place where an answer stands?
#
# NumPy and Numba only: the detector learns from a few sentences, the scorer is a rule, the models are scripts. Figures
# of real texts, of a real scorer and of a real, small model are read from `benchmarks/language.json`,
# `benchmarks/halo.json` and `benchmarks/debias.json`. Runtime: some seconds.

# %%
# %matplotlib inline
import json
import re
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import ml
from ml.language.consistency import (
    Sampling,
    auroc_interval,
    exact_match_rate,
    halo_check,
    inject_knowledge,
    severity,
    teacher,
)
from ml.language.debiasing import bias_report, own_items
from ml.language.models import callable_model
from ml.studies.halo_sets import answer_sets

BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.6"


def results(name):
    """Results of a benchmark by case, none where its file is not there."""
    path = Path(f"../benchmarks/{name}.json")
    return {case: kept["result"] for case, kept in json.loads(path.read_text()).items()} if path.exists() else {}


measured = results("halo")

# %% [markdown]
# ## Which language is this word in?
#
# Tables of letter triples, with back-off to pairs and single letters, are summed over a word; `ml.LanguageDetector` is
# trained on any texts, here sixteen sentences of each language.

# %%
texts = {
    "en": "the house stands near the river|we read the paper this morning|she would like some more tea|what is the "
    "time now|they walked through the woods|there was nothing left to say|which way should we go|the children play|"
    "the weather is getting worse|he thought about his brother|these letters were written long ago|we should have known"
    "|she works with her hands|the teacher laughed with the others|light fell through the window|everything has its "
    "own place",
    "de": "das Haus steht am Fluss|wir lesen heute Morgen die Zeitung|sie möchte noch etwas Tee|wie spät ist es "
    "jetzt|sie gingen durch den Wald|es gab nichts mehr zu sagen|welchen Weg sollen wir gehen|die Kinder spielen"
    "|das Wetter wird immer schlechter|er dachte an seinen Bruder|diese Briefe wurden vor langer Zeit geschrieben|wir "
    "hätten es wissen müssen|sie arbeitet mit den Händen|der Lehrer lachte mit den anderen|Licht fiel durch das "
    "Fenster|jedes Ding hat seinen Ort und seine Stunde",
    "fr": "la maison est près de la rivière|nous lisons le journal ce matin|elle voudrait encore du thé|quelle heure "
    "est-il|ils marchaient dans la forêt|il n'y avait plus rien à dire|quel chemin faut-il prendre|les enfants jouent|"
    "le temps devient mauvais|il pensait à son frère|ces lettres furent écrites il y a longtemps|nous aurions dû le "
    "savoir|elle travaille de ses mains|le maître riait avec les autres|la lumière tombait par la fenêtre|chaque chose "
    "a sa place",
}
detector = ml.LanguageDetector.train({name: text.split("|") for name, text in texts.items()})
for word in ("whether", "gewesen", "toujours", "42"):
    print(f"{word:>10}: {detector.detect(word)}")

# %% [markdown]
# A keyboard hears one word after the other. `push` says what the word and those before it say; three words later that
# may be revised, and the finished sentence has a likeliest path.

# %%
stream = detector.stream(("en", "de"))
sentence = ["we", "should", "go", "durch", "den", "Wald", "und", "Fluss", "then", "through", "the", "river"]
for word in sentence:
    stream.push(word)
print(f"{'word':>10} causal revised complete")
for row in zip(sentence, stream.causal, stream.revised, stream.finish(), strict=True):
    print("{:>10} {:>6} {:>7} {:>8}".format(*row))

# %% [markdown]
# On real text, `python -m benchmarks language`: sentences of the package eld, lists of words of wordfreq, peers on the
# same words in the same run. Left: the parameter reduction, accuracy on single words of 14 languages over the bytes of
# the triples. Right: from 14 to 27 languages those that come are near relatives, beyond many have scripts of their own.
# A word alone is often in several languages, so that nobody is near 1.

# %%
found = results("language")
figure = Figure(figsize=(8.6, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
for name in (name for name in found if name.startswith("split")):
    _, sizes, accuracy = zip(*found[name]["curve"], strict=True)
    left.plot(np.array(sizes) / 1e6, accuracy, "o-", ms=3, color=BLUE, alpha=0.6)
for name, color in (("eld", RED), ("lingua", GREEN), ("fastText lid.176.ftz", GREY)):
    if f"peer {name}" in found:
        left.axhline(found[f"peer {name}"]["accuracy"], color=color, lw=1, label=name)
if "ours, triples and words" in found:
    left.axhline(found["ours, triples and words"]["accuracy"], color=BLUE, lw=1, ls="--", label="ours with word lists")
left.set(xscale="log", xlabel="MB of triples, int8", ylabel="accuracy, single words")
left.set_xticks([0.03, 0.1, 0.3], ["0.03", "0.1", "0.3"])
left.minorticks_off()
left.legend(fontsize=7)
counts = sorted((row["languages"], row) for name, row in found.items() if name.endswith(" languages"))
for key, marker in (("triples", "o-"), ("triples and words", "s--")):
    right.plot([n for n, _ in counts], [row[key] for _, row in counts], marker, ms=4, color=BLUE, label=key)
right.set(xlabel="languages", ylabel="accuracy, single words")
right.legend(fontsize=7)
figure

# %% [markdown]
# ## A score from a rule
#
# A scorer is any function (premise, hypothesis) -> (entailment, neutral, contradiction). This one reads numbers: other
# numbers contradict, the same ones entail, and without numbers it knows nothing.


# %%
def by_number(premise, hypothesis):
    """Entailment for the same numbers, contradiction for others, neutral where one sentence has none."""
    one, other = (re.findall(r"\d+(?:\.\d+)?", text) for text in (premise, hypothesis))
    if not one or not other:
        return 0.0, 1.0, 0.0
    return (1.0, 0.0, 0.0) if one == other else (0.0, 0.0, 1.0)


answers = [
    "The tower is 93 metres tall.",
    "Its height is 93 metres. It was built of stone.",
    "The tower rises to 120 metres.",
]
found = halo_check(answers, by_number)
print(found)
print(found.pairs.round(2))

# %% [markdown]
# By hand: the first two agree on the height, and the rule knows nothing of stone: $(1 + 0) / 2$. The third contradicts
# both: of its only sentence the best premise of the second answer is the one about stone, which is neutral, so that the
# pair scores 0: a maximum over premises forgives what is said beside.

# %%
assert found.pairs[0, 1] == 0.5
assert found.pairs[0, 2] == -1
assert found.pairs[1, 2] == 0
assert np.isclose(found.score, (0.5 - 1 + 0) / 3)
assert found.n_calls == found.n_products == 1 * 2 + 1 * 1 + 2 * 1

whole = halo_check(answers, by_number, symmetric=True)
drawing = Figure(figsize=(3.4, 2.8), layout="constrained")
axis = drawing.subplots()
image = axis.imshow(whole.pairs, vmin=-1, vmax=1, cmap="RdBu")
axis.set(xlabel="hypothesis", ylabel="premise", xticks=range(3), yticks=range(3), title=f"HaloCheck {whole.score:+.2f}")
drawing.colorbar(image)
drawing

# %% [markdown]
# ## Sets made by code
#
# Facts about invented towns: one fact in four wordings, four facts, one of four that differs, or four facts in one
# wording. A real scorer, a small network for pairs of sentences, tells them apart; the cosine of sentence vectors less
# so, least where contradicting answers use the same words: similar is not the same.

# %%
for wording in ("agree", "all differ", "one differs", "one wording"):
    one = answer_sets(wording, 1)[0]
    print(f"{wording:12} {halo_check(one.answers, by_number).score:+.2f}  {one.answers[0]} / {one.answers[1]}")

wordings = ("agree", "all differ", "one differs", "one wording")
rows = {w: [row for case, of in measured.items() if case.startswith(f"sets, {w},") for row in of] for w in wordings}
drawing = Figure(figsize=(8.4, 3.2), layout="constrained")
for axis, score, title in zip(drawing.subplots(1, 2), ("halo", "cosine"), ("HaloCheck", "mean cosine"), strict=True):
    for k, (wording, colour) in enumerate(zip(wordings, (BLUE, RED, GREEN, GREY), strict=True)):
        values = np.array([row[score] for row in rows[wording]])
        axis.plot(k + np.linspace(-0.3, 0.3, len(values)), np.sort(values), ".", color=colour, markersize=3)
    axis.set_xticks(range(4), [w.replace(" ", "\n") for w in wordings])
    axis.set_title(title)
    axis.grid(alpha=0.3, axis="y")
for other in wordings[1:]:
    for score in ("halo", "cosine"):
        if rows["agree"] and rows[other]:
            area = auroc_interval(*(np.array([row[score] for row in rows[w]]) for w in ("agree", other)))
            print(f"agree against {other:12} {score:7} AUROC {area}")
            assert score != "halo" or area.value > 0.9
drawing

# %% [markdown]
# ## A model, facts and a teacher
#
# A scripted model guesses where it does not know, and repeats the fact where one stands in the prompt.


# %%
class Guessing:
    """Knows the height of one tower, guesses others."""

    name = "guessing"

    def generate(self, messages, n=1, temperature=0.0, max_tokens=100, seed=0):
        """Return n answers."""
        prompt, rng = messages[-1]["content"], np.random.default_rng(seed)
        if fact := re.search(r"^- (.*)$", prompt, re.M):
            return n * [fact[1]]
        return [
            "It is 93 m tall." if "Marden" in prompt else f"It is {rng.integers(40, 200)} m tall." for _ in range(n)
        ]


towns = ["Marden", "Talvik", "Osterby", "Quarne", "Velstad", "Brisco"]
questions = [f"How tall is the tower of {town}?" for town in towns]
facts = [f"The tower of {town} is {60 + 11 * k} m tall." for k, town in enumerate(towns)]
prompts = {q: inject_knowledge(q, facts, top=1, vectors="words").prompt for q in questions}
sampling = Sampling(n=4, temperature=0.8)
plain = severity(Guessing(), questions, by_number, sampling=sampling)
known = severity(Guessing(), questions, by_number, sampling=sampling, prompts=prompts)
print(plain)
print("with facts, minus without:", known.difference(plain))
assert known.score.value == 1
assert known.difference(plain).low > 0

report = teacher(Guessing(), Guessing(), 0.5, questions, by_number, sampling=sampling)
print(f"the teacher answers {report.share:.0%} of the questions")
assert report.by_strong.sum() == 5

# %% [markdown]
# **The limit.** With facts every answer is consistent, that of Marden too, where the model said 93 m and the fact says
# 60: the score is 1 both times, and one of them is wrong. Consistency is not truth.

# %%
assert plain.rows[0].score == known.rows[0].score == 1
assert exact_match_rate(plain.rows[0].answers) == 1
print(plain.rows[0].answers[0], "/", known.rows[0].answers[0])

# %% [markdown]
# SmolLM2 (135M numbers), four answers to each question, colder, warmer, and with the fact in the prompt, as
# `python -m benchmarks halo` measured them:

# %%
conditions = ("cold", "warm", "warm, with the fact")
drawing = Figure(figsize=(4.8, 3.2), layout="constrained")
axis = drawing.subplots()
for k, condition in enumerate(conditions):
    named = [row["halo"] for case, row in measured.items() if re.match(f"answers, {condition}, [A-Z]", case)]
    halo = np.array([score for score in named if score is not None])
    print(f"{condition:22} {len(halo)} questions, mean score {halo.mean() if len(halo) else np.nan:+.2f}")
    axis.plot(k + np.linspace(-0.3, 0.3, len(halo)), np.sort(halo), "o", color=BLUE, markersize=4)
axis.set_xticks(range(3), [c.replace(", ", ",\n") for c in conditions])
axis.set(ylabel="HaloCheck", ylim=(-1.05, 1.05), title="SmolLM2, one dot a question")
axis.grid(alpha=0.3, axis="y")
drawing

# %% [markdown]
# ## Does the letter decide, or the group?
#
# Questions about two people of different groups, which the text does not answer: 54 own items of nine groups, options
# (a), (b), (c). The score is +1 where every answer is the stereotyped one, -1 where every answer is its opposite. A
# model that says (c) whatever is asked has no opinion; asked in all three cyclic orders, it scores exactly zero by all
# three protocols, the bare question, an explanation before it, and a request to answer again.

# %%
last = callable_model(lambda messages: "(c)", name="always the last")
of_last = bias_report(last, own_items(), rng=0)
for method in ("baseline", "explanation", "reprompting"):
    row = of_last.row(method)
    print(f"{method:12} score {row.score}, letters {row.positions}, interval {row.interval}")
    assert row.score == 0
    assert row.positions == (0, 0, 1)

# %% [markdown]
# SmolLM2 by `python -m benchmarks debias`: the score with its bootstrap interval of 95 %, and for each protocol, from
# left to right, how often each letter is the answer, as written and averaged over the orders. As written, the bare
# question and the explained one are always answered (c).

# %%
own = results("debias").get("own", {"rows": []})
whole_set = [row for row in own["rows"] if row["group"] == "all"]
drawing = Figure(figsize=(8.4, 3), layout="constrained")
left, right = drawing.subplots(1, 2)
for k, row in enumerate(whole_set):
    low, high = row["interval"]
    print(f"{row['method']:12} {row['score']:+.3f} [{low:+.2f}, {high:+.2f}], accuracy {row['accuracy']:.2f}")
    left.plot([k, k], [low, high], color=BLUE)
    left.plot(k, row["score"], "o", color=BLUE)
    for share, shift, colour in (("letters_before", -0.2, GREY), ("letters", 0.2, BLUE)):
        right.bar(4 * k + np.arange(3) + shift, row[share], 0.4, color=colour)
methods = [row["method"] for row in whole_set]
left.axhline(0, color=GREY, linewidth=0.8)
left.set_xticks(range(len(methods)), methods)
left.set(ylabel="score", ylim=(-0.6, 0.6), xlim=(-0.5, 2.5), title="54 own items")
right.set_xticks([4 * k + j for k in range(len(methods)) for j in range(3)], ["a", "b", "c"] * len(methods))
right.set(ylabel="share", title="letters: grey as written, blue averaged")
drawing

# %% [markdown]
# What this says holds for these items, this wording and this model of 135 million numbers. A score near zero can be a
# model without an opinion, or one that does not understand the question: accuracy and letters belong beside it.
