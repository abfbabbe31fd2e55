#!/bin/bash
# The second stage within SECONDS on one GPU: teacher, made-up stories, distillation and comparison.
#   pipeline.sh FIRST CORPUS OUT [SECONDS, default 800]
# FIRST is the folder of the first stage's model, as export.py writes it. Large files stay in the folder $RUN (default: a
# temporary one); with the same RUN, what is done is skipped. For a trial on a small machine: TEACHER names another
# shape, SHRINK divides the batches, ROWS stories are sampled at once.
set -u
start=$(date +%s)
first=$(realpath "$1") corpus=$(realpath "$2") out=$(realpath -m "$3") all=${4:-800}
run=$(realpath -m "${RUN:-$(mktemp -d)}") shrink=${SHRINK:-1} rows=${ROWS:-4096}
cd "$(dirname "$0")" || exit 1
teacher=${TEACHER:-teacher.json} data=$run/data.npz
mkdir -p "$run" "$out"
export PYTHONUNBUFFERED=1
at() { echo $((start + all * $1 / 1000)); } # a time, in thousandths of the whole
{
  [ -f "$data" ] || python3 data.py "$corpus" ../tokenizer.json "$data" 3
  python3 teacher.py --config "$teacher" --data "$data" --out "$run" --shrink "$shrink" \
    --pretrain-until "$(at 310)" --until "$(at 440)" &&
    python3 generate.py --config "$teacher" --data "$data" --tokenizer ../tokenizer.json \
      --weights "$run/teacher.pt" --out "$run" --rows "$rows" --until "$(at 620)"
  python3 distill.py --student "$first" --config "$teacher" --teacher "$run/teacher.pt" --data "$data" "$run/made.npz" \
    --out "$run" --shrink "$shrink" --until "$(at 905)"
  cp "$run"/student-*.pt "$out"
  [ -f "$run/made.npz" ] && cp "$run/made.npz" "$out"
  python3 check.py --first "$first" --tokenizer ../tokenizer.json --config "$teacher" --run "$run" --corpus "$corpus" \
    --out "$out" --until "$(at 980)"
} 2>&1 | tee "$out/pipeline.log"
for part in teacher made student; do
  [ -f "$run/log-$part.jsonl" ] && cat "$run/log-$part.jsonl"
done > "$out/log.jsonl"
echo "$(($(date +%s) - start)) seconds"
