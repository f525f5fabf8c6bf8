#!/usr/bin/env bash
# Runs the same workloads on Restate and on this build, in turn in one sitting, and
# prints the table of ratios and limits.
#
#   internal/bench/peers.sh HARNESS [ROUNDS]
#
# HARNESS is the folder of the peers' harness: restate/main.go is Restate's worker
# and client, restate/restate.toml its settings. The server of DATABASE_URL and
# KAFKA_BROKERS is ours to use, else the embedded ones are; KAFKA_PID adds the
# broker's CPU. Both are warm when they are measured: Restate after a run of its own,
# the broker, a Java program that compiles itself while it works, after WARM_UP (3)
# runs of w1 by Kafka alone and of w3. Needs node, npm, Go, curl and python3; Restate takes the
# ports 8080, 9070 and 19080. Everything fetched or built goes to $PEERS, else to a
# folder of the user's cache. Our topics have one partition, unless
# HISHAMOS_KAFKA_PARTITIONS says otherwise.
set -euo pipefail
export HISHAMOS_KAFKA_PARTITIONS=${HISHAMOS_KAFKA_PARTITIONS:-1}

harness=${1:?name the folder of the harness} rounds=${2:-2}
peers=${PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/hishamos/peers} runs=${RUNS:-2000} # of w1
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$peers"
ours=$peers/ours.jsonl theirs=$peers/restate.jsonl
: >"$ours" && : >"$theirs"

echo "setting up in $peers" >&2
(cd "$here/../.." && CGO_ENABLED=0 go build -trimpath -tags=nomsgpack -o "$peers/hishamos" ./cmd/hishamos)
(cd "$harness/restate" && go build -o "$peers/wf-restate" .)
ls "$peers"/node_modules/@restatedev/restate-server-*/bin/restate-server >/dev/null 2>&1 ||
	npm install --silent --prefix "$peers" @restatedev/restate-server@1.7.12 >&2
restate=$(ls "$peers"/node_modules/@restatedev/restate-server-*/bin/restate-server | head -1)

pids=()
stop() {
	((${#pids[@]} == 0)) || { kill "${pids[@]}" && wait "${pids[@]}"; } 2>/dev/null || true
	pids=()
}
trap stop EXIT

# restate_with PARTITIONS: an empty server and a worker.
restate_with() {
	rm -rf "$peers/restate-data"
	sed "s/^default-num-partitions.*/default-num-partitions = $1/" "$harness/restate/restate.toml" >"$peers/restate.toml"
	"$restate" --base-dir "$peers/restate-data" --config-file "$peers/restate.toml" >"$peers/restate.log" 2>&1 &
	pids+=($!)
	WORKER_ADDR=127.0.0.1:19080 "$peers/wf-restate" worker >"$peers/worker.log" 2>&1 &
	pids+=($!)
	curl -fsS --retry 60 --retry-delay 1 --retry-all-errors -o "$peers/deployed" -X POST 127.0.0.1:9070/deployments \
		-H 'content-type: application/json' -d '{"uri":"http://127.0.0.1:19080"}'
}

# spent: CPU seconds of Restate's server and worker, and of what this shell waited for.
spent() {
	local stats=("${pids[@]/#//proc/}")
	awk -v hz="$(getconf CLK_TCK)" '{ sub(/^.*\) /, ""); sum += NR == 1 ? $14 + $15 : $12 + $13 } END { print sum / hz }' \
		"/proc/$$/stat" "${stats[@]/%//stat}"
}

# peer PARTITIONS CASE MODE [RUNS INFLIGHT]
peer() {
	local before after
	before=$(spent)
	INGRESS=http://127.0.0.1:8080 RUNS=${4:-200} INFLIGHT=${5:-50} "$peers/wf-restate" "$3" >"$peers/answer"
	after=$(spent)
	sed "s/^{/{\"partitions\":$1,\"case\":\"$2\",\"cpu_s\":$(awk "BEGIN { print $after - $before }"),/" "$peers/answer" >>"$theirs"
}

# own CASE ARGUMENTS...: a figure of this build.
own() {
	local case=$1
	shift
	"$peers/hishamos" bench "$@" ${KAFKA_PID:+--procs "kafka=$KAFKA_PID"} --json | sed "s/^{/{\"as\":\"$case\",/" >>"$ours"
}

for ((i = 1; i <= rounds; i++)); do
	for partitions in 1 4; do
		echo "round $i: Restate, $partitions partitions" >&2
		restate_with $partitions
		peer $partitions warm-up w1 200 50
		peer $partitions w1 w1 "$runs" 50
		peer $partitions w1-400 w1 "$runs" 400
		peer $partitions solo solo
		peer $partitions w2 w2
		stop
	done
	if ((i == 1)); then
		echo "warming the broker up" >&2
		for ((j = 0; j < ${WARM_UP:-3}; j++)); do
			HISHAMOS_EXPRESS=off own warm-up w1 --runs 2000
			own warm-up w3 # what fetches is not warm by the other
		done
	fi
	echo "round $i: this build" >&2
	own w1-express w1 --runs "$runs"
	HISHAMOS_EXPRESS=off own w1-kafka w1 --runs "$runs"
	own w1-own w1 --runs "$runs" --workers own
	own w1-400 w1 --runs "$runs" --inflight 400
	own solo-express solo
	HISHAMOS_EXPRESS=off own solo-kafka solo
	own w2 w2
	own w2-own w2 --workers own
done
# ONCE names fewer of them, or none.
for name in ${ONCE-w3 append stream latency rebuild store-from-kafka kafka-from-store memory}; do
	echo "this build: $name" >&2
	own $name $name
	[ $name != latency ] || HISHAMOS_RELAY_LINGER=0 own latency-at-once latency
done
python3 "$here/peers.py" "$ours" "$theirs"
