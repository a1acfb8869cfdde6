#!/usr/bin/env bash
set -e
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True,max_split_size_mb:256
export HF_HUB_DISABLE_XET=1
export HF_HUB_ENABLE_HF_TRANSFER=0

BASE="/home/ps/vllm"
MODEL_DIR="${BASE}/models/Tiny-Instruct"
SERVED_NAME="qwen32b"
PORT=8010

source "${BASE}/venv/bin/activate"
exec python -m vllm.entrypoints.openai.api_server \
  --model "${MODEL_DIR}" \
  --served-model-name "${SERVED_NAME}" \
  --host 0.0.0.0 \
  --port "${PORT}" \
  --tensor-parallel-size 1 \
  --dtype bfloat16 \
  --max-model-len 512 \
  --max-num-seqs 8 \
  --disable-log-requests \
  --api-key sk-not-to-be-seen
