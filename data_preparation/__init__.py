"""Prompts for RL from public collections: what cannot be verified is left out, what is left is checked by a model.

    items (rows of several forms) -> rules (what no verifier can grade) -> open_questions (multiple choice to open)
          -> overlap (duplicates, and what the evaluation sets hold) -> validate (several tries of a model)
    prepare (the command) runs these stages one after the other, each resumable: parquet, counts, and a page (page) of
    what was dropped and why

Each stage says of every row why it is dropped; nothing vanishes. After PRIME (arXiv 2502.01456, appendix A.2), whose
thresholds are not public: ours are flags. docs/data_preparation.md says what is what.
"""
