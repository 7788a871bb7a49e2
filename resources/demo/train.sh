#!/bin/sh
# Makes a demo teacher and its draft with Fettle itself: train.sh OUT [TEACHER_TOKENS] [DRAFT_TOKENS]
#
# Text of the demo's world, other than what is in texts/, from generate.py; shapes and tokenizer of the bundled models.
# Killed and started again it goes on where it was. FETTLE_CLI names the program; COMPUTE=bf16 multiplies in bfloat16 where the
# processor can, as it was done for the bundled models: 1.7 times as fast on an AMD EPYC (Zen 4).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?"usage: train.sh OUT [TEACHER_TOKENS] [DRAFT_TOKENS]"}
teacher_tokens=${2:-16000000}
draft_tokens=${3:-2000000}
cli=${FETTLE_CLI:-fettle-cli}
compute=${COMPUTE:-f32}
mkdir -p "$out"

# About three bytes a token; each document is seen once or twice.
text="$out/world.txt"
if [ ! -s "$text" ]; then
    python3 "$here/generate.py" --stream 1000 --bytes $((teacher_tokens * 2)) > "$text.partial"
    mv "$text.partial" "$text"
fi

"$cli" train "$here/teacher" --from-scratch --train "$text" --out "$out/teacher" --tokens "$teacher_tokens" \
    --learning-rate 3e-3 --schedule wsd --decay-share 0.35 --last-ratio 0.01 --warmup 0.02 --weight-decay 0.05 --beta2 0.98 \
    --batch-tokens 4096 --context 256 --compute "$compute" --validation "$here/texts/calibration.txt"
"$cli" train "$here/draft" --from-scratch --teacher "$out/teacher" --cross-entropy 0.3 --distillation 0.7 --train "$text" \
    --out "$out/draft" --tokens "$draft_tokens" --learning-rate 3e-3 --schedule wsd --decay-share 0.35 --last-ratio 0.01 \
    --warmup 0.02 --weight-decay 0.05 --beta2 0.98 --batch-tokens 4096 --context 256 --compute "$compute" --validation "$here/texts/calibration.txt"

for model in teacher draft; do
    "$cli" evaluate "$out/$model" --text "$here/texts/evaluate.txt" --tasks "$here/tasks.jsonl" --context 256
done
