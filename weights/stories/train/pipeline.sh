#!/bin/bash
# Teacher, made-up stories, distillation and comparison within SECONDS on one GPU.
#   pipeline.sh CORPUS OUT [SECONDS, default 560]
# Large files stay in the folder $RUN (default: a temporary one); with the same RUN, what is done is skipped.
# For a trial on a small machine: TEACHER names another shape, STUDENT another model, SHRINK divides the batches, ROWS are sampled at once.
set -u
start=$(date +%s)
corpus=$(realpath "$1") out=$(realpath -m "$2") all=${3:-560}
run=$(realpath -m "${RUN:-$(mktemp -d)}") shrink=${SHRINK:-1} rows=${ROWS:-4096}
cd "$(dirname "$0")" || exit 1
teacher=${TEACHER:-teacher.json} student=${STUDENT:-..} data=$run/data.npz
mkdir -p "$run" "$out"
export PYTHONUNBUFFERED=1
at() { echo $((start + all * $1 / 1000)); } # a time, in thousandths of the whole
{
  [ -f "$data" ] || python3 data.py "$corpus" ../tokenizer.json "$data"
  python3 teacher.py --config "$teacher" --data "$data" --out "$run" --shrink "$shrink" \
    --pretrain-until "$(at 375)" --until "$(at 470)" &&
    python3 generate.py --config "$teacher" --data "$data" --weights "$run/teacher.pt" --out "$run" --rows "$rows" \
      --until "$(at 585)"
  python3 distill.py --student "$student" --config "$teacher" --teacher "$run/teacher.pt" --data "$data" "$run/made.npz" \
    --out "$run" --shrink "$shrink" --until "$(at 890)"
  cp "$run"/student-*.pt "$out"
  [ -f "$run/made.npz" ] && cp "$run/made.npz" "$out"
  python3 check.py --shipped "$student" --config "$teacher" --run "$run" --corpus "$corpus" --out "$out" --until "$(at 980)"
} 2>&1 | tee "$out/pipeline.log"
cat "$run"/log-*.jsonl > "$out/log.jsonl"
echo "$(($(date +%s) - start)) seconds"
