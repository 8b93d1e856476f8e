"""`python -m pure_rlhf.cli.torchrun ARGUMENTS`: `torchrun ARGUMENTS`, and nothing of it stays in TMPDIR.

torchrun makes a folder `torchelastic_*` there for each run and leaves it, and so may what its ranks start.
"""

from __future__ import annotations

from torch.distributed import run

from pure_rlhf.scratch import scratch_folder, use_for_temporary_files

if __name__ == "__main__":
    with scratch_folder() as folder:
        use_for_temporary_files(folder)
        run.main()
