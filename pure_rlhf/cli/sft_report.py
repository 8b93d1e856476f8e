"""`python -m pure_rlhf.cli.sft_report RUN_DIR`: answers held-out prompts before and after SFT, and writes the page."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tyro

from pure_rlhf import cpu_host
from pure_rlhf.cli.train_sft import CONFIG_FILE, read_config
from pure_rlhf.model_folder import load_tokenizer
from pure_rlhf.prompt_styles import read_system_prompt
from pure_rlhf.sft.report import SampleRecord, render_sft_page
from pure_rlhf.sft.rows import SftRow, read_rows

PAGE = "sft_report.html"


def answer(model_name: str, rows: list[SftRow], tokenizer: Any, max_new_tokens: int) -> list[str]:
    """Greedy responses to the rows' prompts."""
    import torch
    from transformers import AutoModelForCausalLM

    if not rows:
        return []
    dtype = torch.float32 if cpu_host.is_cpu_host() else torch.bfloat16
    model: Any = AutoModelForCausalLM.from_pretrained(model_name, dtype=dtype)
    model.to(cpu_host.device())
    end = tokenizer.eos_token_id
    found = []
    for row in rows:
        ids_1T = torch.tensor([row.token_ids[: row.num_prompt]], device=model.device)
        with torch.no_grad():
            output = model.generate(
                ids_1T,
                attention_mask=torch.ones_like(ids_1T),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            )
        found.append(tokenizer.decode(output[0, row.num_prompt :], skip_special_tokens=True))
    return found


def main(run: tyro.conf.Positional[Path], samples: int = 8, max_new_tokens: int = 512) -> None:
    """Write the page of a run.

    Args:
        run: folder that `train_sft` wrote.
        samples: held-out prompts that are answered; 0: none.
        max_new_tokens: longest response to them.
    """
    try:
        config = read_config(run)
        record = json.loads((run / CONFIG_FILE).read_text(encoding="utf-8"))
        tokenizer = load_tokenizer(str(run / "model"))
        rows = read_rows(config, tokenizer, read_system_prompt(config.data.system_prompt))
    except (OSError, ValueError) as error:
        sys.exit(f"{run}: no report can be made: {error}")
    chosen = rows.held_out[:samples]
    texts = {
        when: answer(model, chosen, tokenizer, max_new_tokens)
        for when, model in (
            ("before", config.model.model_name_or_path),
            ("after", str(run / "model")),
        )
    }
    found: list[SampleRecord] = [
        {"prompt": row.prompt, "response": row.response, "before": before, "after": after}
        for row, before, after in zip(chosen, texts["before"], texts["after"], strict=True)
    ]
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    page = render_sft_page(
        name=run.name,
        config=record,
        metrics=[json.loads(line) for line in lines],
        samples=found,
    )
    (run / PAGE).write_text(page, encoding="utf-8")
    print(f"Report: {run / PAGE}   model: {run / 'model'}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
