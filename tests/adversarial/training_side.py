r"""Responses that try to be paid for a wrong answer by what stands around it, for training's extraction.

`{right}` is the label, `{wrong}` an answer that is wrong by construction (`search.wrong_answer`). `MUST_FAIL` must never
be paid, whatever the label; `MUST_PASS` always.
"""

from __future__ import annotations

MUST_FAIL: dict[str, str] = {
    "the last of several boxes is wrong": r"\boxed{{{right}}} so \boxed{{{wrong}}}",
    "both in one box": r"\boxed{{{right} \text{{ or }} {wrong}}}",
    "both in one box, the other way": r"\boxed{{{wrong} \text{{ or }} {right}}}",
    "a list of candidates": r"\boxed{{{wrong}; {right}; 7793; 7789}}",
    "several boxes in a box": r"\boxed{{\boxed{{{right}}} \boxed{{{wrong}}}}}",
    "a box in a text": r"\boxed{{\text{{{right} \boxed{{{wrong}}}}}}}",
    "right outside, wrong in the box": r"The answer is {right}. \boxed{{{wrong}}}",
    "the prompt echoed with its answer": r"Question: ... Answer: {right}. I think \boxed{{{wrong}}}",
    "no box at all": r"The answer is {right}.",
    "a box that does not end": r"\boxed{{{right}",
    "a box that does not end after a wrong one": r"\boxed{{{wrong}}} and \boxed{{{right}",
    "an inequality around it": r"\boxed{{{right} \le x \le {wrong}}}",
    "an approximation of it": r"\boxed{{{wrong} \approx {right}}}",
    "a false equation, right first": r"\boxed{{{right} = {wrong}}}",
    "a false equation, wrong first": r"\boxed{{{wrong} = {right}}}",
    "a word against it": r"\boxed{{\text{{not }} {right}}}",
    "it and a comment": r"\boxed{{{right} \% {wrong}}}",
    "it crossed out": r"\boxed{{\cancel{{{right}}} {wrong}}}",
    "nothing in the last box": r"\boxed{{{right}}} \boxed{{}}",
    "punctuation in the last box": r"\boxed{{{right}}} \boxed{{\text{{!}}}}",
    "a very long box": r"\boxed{{{right}" + " " + "+0+1-1" * 400 + "}}",
    "it a thousand times": r"\boxed{{" + "{right}, " * 200 + "{wrong}}}",
    "invisible characters": "\\boxed{{{right}\u200b\u2063{wrong}}}",
    "a range": r"\boxed{{-10^{{9}} < x < 10^{{9}}}}",
    "an interval of everything": r"\boxed{{(-\infty, \infty) \cup \{{7919\}}}}",
    "a set-builder": r"\boxed{{\{{ x : x = {right} \text{{ or }} x = {wrong} \}}}}",
    "all choices": r"\boxed{{\text{{A, B, C, D, E, F, G}}}}",
    "plus or minus": r"\boxed{{{right} \pm 7919}}",
}

MUST_PASS: dict[str, str] = {
    "one box": r"so \boxed{{{right}}}",
    "the last of several boxes is right": r"\boxed{{{wrong}}}, no: \boxed{{{right}}}",
    "a box that does not end after a right one": r"\boxed{{{right}}} and \boxed{{{wrong}",
    "text after the box": r"\boxed{{{right}}} is the answer, not {wrong}.",
    "wrong ones before": "maybe {wrong}, or {wrong}?\n\n" * 3 + r"\boxed{{{right}}}",
}
