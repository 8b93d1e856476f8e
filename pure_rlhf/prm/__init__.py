"""Process reward models: from a response cut into steps to one reward per step, in [-1, 1].

    conventions    what each family of PRMs reads and what its numbers mean
    step_texts     token steps -> texts, for PRMs with a tokenizer of their own
    token_inputs   token steps -> the PRM's input and the positions to read, for PRMs with the policy's tokenizer
    batching       responses -> batches of at most so many tokens
    models         loading a checkpoint
    learning       settings of a PRM that learns during RL
    step_labels    labels of steps: rows that it goes on learning from or is measured on, a user's function
    quality        how well rewards agree with labels of steps
    scorer         all of it for texts, without Ray

One definition for RL (`workers/prm_reader.py`, `workers/prm_worker.py`), PRM training and evaluation.
"""
