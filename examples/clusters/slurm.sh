#!/usr/bin/env bash
# One training on all nodes of a Slurm job: a Ray head on the first, a worker on each other, then train_pure.sh. From the
# root of a checkout on a disk that all nodes share (the environment, models and OUTPUT_DIR lie there too):
#
#   sbatch examples/clusters/slurm.sh                                     2 nodes of 8 GPUs
#   sbatch --nodes 4 --gpus-per-node 4 examples/clusters/slurm.sh --max_steps 100
#
# Half of the GPUs train, the others generate; flags behind the script win. The variables of train_pure.sh hold.
#SBATCH --job-name pure
#SBATCH --nodes 2
#SBATCH --ntasks-per-node 1
#SBATCH --gpus-per-node 8
#SBATCH --cpus-per-task 32
#SBATCH --mem 0
#SBATCH --time 24:00:00
set -euo pipefail

cd "$SLURM_SUBMIT_DIR" # Slurm runs a copy of this file that lies elsewhere
export RAY_process_group_cleanup_enabled=true # else a killed engine's child keeps its GPU
export PURE_HOST=gpu PURE_VENV=${PURE_VENV:-$PWD/.venv-gpu}
export OUTPUT_DIR=${OUTPUT_DIR:-$PWD/output}
bash examples/scripts/setup.sh
ray=$PURE_VENV/bin/ray
nodes=$SLURM_JOB_NUM_NODES
first=$SLURMD_NODENAME # where this runs
address=$(hostname --ip-address | cut -d ' ' -f 1):${RAY_PORT:-6379}
step=(srun --ntasks-per-node 1 --gpus-per-node "$SLURM_GPUS_ON_NODE" --cpus-per-task "$SLURM_CPUS_PER_TASK")

"${step[@]}" --nodes 1 --ntasks 1 --nodelist "$first" \
    "$ray" start --head --block --node-ip-address "${address%:*}" --port "${address#*:}" &
timeout 300 bash -c 'until "$@" 2>/dev/null; do sleep 2; done' - "$ray" health-check --address "$address"
if [ "$nodes" -gt 1 ]; then
    "${step[@]}" --nodes $((nodes - 1)) --ntasks $((nodes - 1)) --exclude "$first" \
        "$ray" start --block --address "$address" &
fi
export RAY_ADDRESS=$address
timeout 300 "$PURE_VENV/bin/python" -c 'import sys, time, ray
ray.init(log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[1]): time.sleep(2)' "$nodes"

training=$((SLURM_GPUS_ON_NODE / 2))
flags=(
    --actor.num_nodes "$nodes"
    --actor.num_gpus_per_node "$training"
    --ref.num_nodes "$nodes"
    --ref.num_gpus_per_node "$training"
    --reward.num_nodes "$nodes"
    --reward.num_gpus_per_node "$training"
    --vllm.num_engines $((nodes * (SLURM_GPUS_ON_NODE - training)))
)
bash examples/scripts/train_pure.sh "${flags[@]}" "$@" # Slurm ends Ray with the job
