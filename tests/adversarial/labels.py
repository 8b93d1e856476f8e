r"""The labels that are attacked: those of the real data sets where they are at hand, and self-made ones of every kind."""

from __future__ import annotations

from collections import Counter
from functools import cache

from evaluation.benchmarks import load_problems
from pure_rlhf.data import load_rows
from pure_rlhf.grading.final_answer import has_answer, read_label
from tests.shared_data import ROOT

BENCHMARKS = (
    "math500", "math", "minerva_math", "olympiadbench", "olympiadbench_674", "gsm8k", "aime24", "amc23",
)  # fmt: skip
FILES = {
    "PURE, 879 answers": ("pure/8k_math_879_answers.json.gz", "answer"),
    "PURE, its other answers": ("pure/8k_math_879_answers.json.gz", "ref_answer"),
    "MATH training": ("math/train.jsonl.gz", "answer"),
    "DeepScaleR, MATH": ("deepscaler/train_math.json.gz", "answer"),
    "DeepScaleR, AIME": ("deepscaler/train_aime.json.gz", "answer"),
}

OWN = r"""
0 1 2 3 4 5 6 7 8 9 10 12 16 18 20 24 30 36 48 60 72 100 120 144 360 1000 -1 -2 -3 -5 -12 2^{2005} 3^{2007} 10^{100}
\frac12 \frac{1}{3} \frac{3}{2} -\frac{7}{8} 3\frac{1}{2} 0.5 1.25 -0.75 3.14159 4.5e33 1.6e-19 28.71 50\% 12.5\%
\sqrt{2} 2\sqrt{3} \frac{\sqrt{3}}{3} \pi \frac{\pi}{4} 2\pi e e^2 \ln(2) i 3+4i -1-i \sqrt[3]{4} 1+\sqrt{5} 5!
x x+1 x^2-1 2x+3 (x+1)(x-2) \frac{x}{y} n(n+1) 2^n \sin(x) \frac{1}{1+x^2} a^2+b^2 |x| \lfloor{n/2}\rfloor
y=2x+3 x=5 x=-2 y=x^2 x^2+y^2=25 2x-3y+6=0 f(x)=x+1 k=3 x\in[0,1] x>2 0\le{x}<4 n\ne3
\infty -\infty (2,\infty) (-\infty,3) (-\infty,3] [0,\infty) (-\infty,\infty) (0,1) [0,1] (0,1] [0,1) (-2,7)
(-\infty,-1)\cup(1,\infty) (-\infty,2)\cup(3,5] [-1,0)\cup(0,1]
(1,2) (2,1) (3,-4) (0,0,1) (\frac12,3) (1,2,3)
1,2 2,3 -1,1 0,4 1,2,3 \{1,2,3\} \{0\} \pm2 3\pm\sqrt{2} \frac12,\frac13 (1,2),(3,4)
52_8 110_2 152A_{11} 1101_4 2:3 1:2:3 \text{1:03~PM} 9:24
5\text{~cm} 30^\circ 12\text{~square~feet} 60\text{~miles} \$5 7\text{~dollars} 45\text{~mph} 8\sqrt{3}\text{~cm}^2
\text{even} \text{odd} \text{Evelyn} \text{Saturday} \text{June~20} \text{yes} \text{no} \text{two~lines} \text{none}
\text{(A)} \text{B} (C) D E \text{A,~C} CD \text{circle} \text{neither} \emptyset
\begin{pmatrix}1&2\\3&4\end{pmatrix} \begin{pmatrix}1\\-2\end{pmatrix} \begin{vmatrix}1&2\\3&4\end{vmatrix}
""".replace("~", " ")
"""Whitespace-separated; spaces inside an answer are those of a line below."""


def own_labels() -> list[str]:
    r"""The self-made labels; `\text{June 20}` holds a space, so the lines are split outside braces."""
    labels: list[str] = []
    depth, word = 0, ""
    for character in OWN:
        depth += (character == "{") - (character == "}")
        if character.isspace() and depth == 0:
            labels += [word] * bool(word)
            word = ""
        else:
            word += character
    return labels


@cache
def label_sets() -> dict[str, list[str]]:
    """Name -> the labels of a set, a label for each of its rows."""
    sets = {"self-made": own_labels()}
    if not ROOT.is_dir():
        return sets
    for name in BENCHMARKS:
        sets[name] = [problem.answer for problem in load_problems(name, ROOT).problems]
    for name, (file, column) in FILES.items():
        rows = load_rows(str(ROOT / file), "train")
        sets[name] = [str(row[column]) for row in rows if has_answer(row[column])]
    return sets


@cache
def distinct_labels() -> list[str]:
    """The labels of all sets, each once, those without a written form left out."""
    counts = Counter(label for labels in label_sets().values() for label in labels)
    return [label for label in counts if read_label(label).written]
