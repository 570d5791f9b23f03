#!/bin/bash
# sbatch slurm.sh      one worker a node, all GPUs of the node each
#SBATCH --job-name=bai-dcgan
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --requeue

export PORT=2222
WORKERS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$PORT\"/" | paste -sd,)
export WORKERS

# SLURM_PROCID counts the nodes in the order of the list.
srun bash -c '
  export TF_CONFIG="{\"cluster\": {\"worker\": [$WORKERS]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
  exec keras-fracture reproduce bai_dcgan --profile paper --strategy multiworker \
    --data-dir "$HOME/data" --out "$HOME/runs/bai-dcgan" --resume
'
