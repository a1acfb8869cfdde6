#!/usr/bin/env bash
# Talk to an OpenAI-compatible endpoint with curl:
#   OPENAI_BASE_URL=http://gpu1:8010/v1 OPENAI_MODEL=qwen32b OPENAI_API_KEY=… examples/curl.sh
set -euo pipefail
base=${OPENAI_BASE_URL:-http://127.0.0.1:8010/v1}
model=${OPENAI_MODEL:-qwen32b}

# The key goes through a file descriptor: on the command line everybody on this machine could read it.
ask() {
  curl -sS --fail-with-body --no-buffer -H 'Content-Type: application/json' \
    -H @<(printf 'Authorization: Bearer %s' "${OPENAI_API_KEY:-none}") "$@"
  echo
}

echo "— models"
ask "$base/models"

echo "— a chat"
ask "$base/chat/completions" -d '{
  "model": "'"$model"'",
  "messages": [{"role": "user", "content": "What is a language model?"}],
  "max_tokens": 64
}'

echo "— a chat, streamed"
ask "$base/chat/completions" -d '{
  "model": "'"$model"'",
  "messages": [{"role": "user", "content": "What is a language model?"}],
  "max_tokens": 64,
  "stream": true
}'

echo "— a text continued"
ask "$base/completions" -d '{"model": "'"$model"'", "prompt": "A language model is", "max_tokens": 32}'
