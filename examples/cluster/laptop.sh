#!/bin/bash
# bash laptop.sh audit my_folder      two workers of one thread each, then `keras-fracture data audit my_folder` on them
# `--jobs 2` does the same without Dask; this shows what happens on a cluster, step by step.
set -e
FOLDER=$(mktemp -d)
dask scheduler --host 127.0.0.1 --port 0 --scheduler-file "$FOLDER/scheduler.json" >"$FOLDER/log" 2>&1 &
SCHEDULER=$!
dask worker --scheduler-file "$FOLDER/scheduler.json" --host 127.0.0.1 --local-directory "$FOLDER" \
  --nworkers 2 --nthreads 1 --memory-limit 2GiB >"$FOLDER/worker.log" 2>&1 &
WORKERS=$!
trap 'kill $WORKERS; wait $WORKERS || true; kill $SCHEDULER; rm -r "$FOLDER"' EXIT
until [ -e "$FOLDER/scheduler.json" ]; do sleep 0.1; done

keras-fracture data "$@" --cluster "$FOLDER/scheduler.json"
